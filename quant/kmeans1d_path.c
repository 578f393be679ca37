/* SPDX-License-Identifier: Apache-2.0 */
/* Cheapest path from node 0 to node n when every link costs its sum of squares plus a penalty.
 *
 * Costs obey the quadrangle inequality c(a,c) + c(b,d) <= c(a,d) + c(b,c) for a < b < c < d, so
 * once a later predecessor beats an earlier one it does so for good, and best predecessors ascend.
 * The nodes ahead are taken in blocks of rows whose predecessors all lie before the block: the last
 * row looks at all of them, each row in the middle at those between its neighbours' (kernels.h,
 * qk_links). No node of the block can have been missed when none beats the last row's predecessor
 * at the last row, which is looked at afterwards. O(n log n) for blocks that are a fixed share of a
 * cluster long: ten looks a node, four of them at once. */
#include "kernels/kernels.h"
#include "quant/kmeans1d_internal.h"

static double through(const quant_kmeans1d_path *p, size_t i, size_t t)
{
    double s = p->s[t] - p->s[i], w = p->w[t] - p->w[i];
    return p->g[i] - s * s / w;
}

/* Rows to be tried at node j, whose predecessors begin at low: a power of two that fits twice into
 * the distance. */
static size_t rows_at(const quant_kmeans1d_path *p, size_t low, size_t j, size_t most)
{
    size_t rows = 4, room = (j - low) / 2 < p->n + 1 - j ? (j - low) / 2 : p->n + 1 - j;
    if (room < 4 || most < 4) {
        return 1;
    }
    while (2 * rows <= room && 2 * rows <= most) {
        rows *= 2;
    }
    return rows;
}

/* Fill g and from of rows nodes from j on; 0 when a node of the block belongs before its last. */
static int take_block(quant_kmeans1d_path *p, double penalty, size_t low, size_t j, size_t rows)
{
    qk_links links = {p->w, p->s, p->g, low, j};
    qk()->cheapest_links(&links, rows, p->g + j, p->from + j);
    double rival, least = p->g[j + rows - 1];
    uint32_t who;
    for (size_t r = 0; r < rows; r++) {
        p->g[j + r] += penalty;
    }
    if (rows > 1) {
        links.low = j;
        links.row = j + rows - 1;
        qk()->cheapest_links(&links, 1, &rival, &who);
    }
    return rows == 1 || !(rival < least);
}

size_t quant_kmeans1d_path_run(quant_kmeans1d_path *p, double penalty)
{
    size_t low = 0, n = p->n, most = n, links = 0;
    p->g[0] = 0;
    p->from[0] = 0;
    for (size_t j = 1; j <= n;) {
        size_t rows = rows_at(p, low, j, most);
        if (take_block(p, penalty, low, j, rows)) {
            j += rows;
            low = p->from[j - 1];
            most = most < n ? 2 * most : most;
        } else {
            most = rows / 4;
        }
    }
    for (size_t j = n; j > 0; j = p->from[j]) {
        links++;
    }
    return links;
}

/* How many nodes of [from, d) reach d at no more than limit. */
static size_t count_within(const quant_kmeans1d_path *p, size_t from, size_t d, double limit)
{
    quant_lanes_mask count = {0};
    size_t near = 0;
    for (; from + QUANT_LANES <= d; from += QUANT_LANES) {
        quant_lanes s = p->s[d] - *(const quant_lanes_at *)(p->s + from);
        quant_lanes w = p->w[d] - *(const quant_lanes_at *)(p->w + from);
        count += *(const quant_lanes_at *)(p->g + from) - s * s / w <= limit;
    }
    for (; from < d; from++) {
        near += through(p, from, d) <= limit;
    }
    return near + (size_t)-(count[0] + count[1]);
}

/* Let a path tied up to slack leave ours, going backwards, at node d by the link a -> d, and let
 * our links be b -> c -> d. For a < b the quadrangle inequality gives
 *     excess(a -> d) - excess(b -> d) >= excess(a -> c) - excess(b -> c) = excess(a -> c) >= 0,
 * so b -> d is tied up to slack too. Hence predecessors of d from b on tell, 2 n in all. */
int quant_kmeans1d_path_alone(const quant_kmeans1d_path *p, double penalty, double slack)
{
    for (size_t d = p->n; d > 0; d = p->from[d]) {
        size_t c = p->from[d], b = c > 0 ? p->from[c] : 0;
        if (count_within(p, b, d, p->g[d] + slack - penalty) > 1) { /* c itself is one */
            return 0;
        }
    }
    return 1;
}
