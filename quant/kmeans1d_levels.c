/* SPDX-License-Identifier: Apache-2.0 */
/* Many points in little memory: the optimum is looked for among few nodes, then among all nodes
 * around those that can still matter.
 *
 * Let V be some of the nodes, and let the points between neighbours of V be a cell: weight W, width
 * h from its first value to its last. Take a partition into k clusters with means m_j, best or not,
 * all of whose boundaries lie in V or inside cells of a set Z. In a cell that clusters j < ... < l
 * share each point costs at least x^2 plus the least of l - j + 1 linear functions of x. That least
 * is concave: over the cell it lies above its chord, and at the cell's mean it exceeds the chord by
 * the kinks, which are 2 (m_{j+1} - m_j), times h / 4 each at most. So when every shared cell is
 * given whole to the cluster whose mean is nearest to the cell's, the sum of squares rises by no
 * more than W h / 2 (m_l - m_j) a cell, in all by
 *     loss = max over Z of W h / 2, times (last value - first value),
 * for the m_j ascend. What comes out is a path over V of k links at most, and every boundary of the
 * partition that was not in V lies in a cell that has one of that path's nodes at its ends; those
 * in V are its nodes. Therefore all partitions that cost up to e more than the best path over V
 * have their boundaries at or beside nodes through which a path over V costs up to e + loss more
 * than the best. The costs of paths over V are taken from the points themselves, so that e holds
 * nothing but rounding and what the search for the penalty left open.
 *
 * The next V has all nodes of these zones, or cells of them if that is too many, and loss falls
 * with the square of the cells' width: two or three levels. Cells of equal W h give the least
 * loss. */
#include <math.h>

#include "quant/kmeans1d_sums.h"

enum {
    LEVELS = 24,
    BLOCK = 64,         /* points by which the sum of sqrt(W h) is estimated */
    LEAST = 1 << 18,    /* points from which levels are faster and smaller than all at once */
    SHARE = 12,         /* points for each node */
    FEW = 1 << 14,      /* nodes of a level: loss stays a fraction of a cluster up to SQUARE k^2 */
    SQUARE = 256
};

typedef struct levels {
    const quant_point_list *points;
    quant_kmeans1d_scratch t; /* id: nodes of V; start[v]: no boundary lies in cell v */
    size_t room, k;
    size_t zones;  /* boundaries are among nodes t.fewest[z] .. t.most[z] of each zone z */
    size_t nodes;  /* in them and the two ends */
    double worst;  /* largest W h of a cell in a zone */
    double penalty;
} levels;

/* Zones shrink when nodes are more than about k^2.5. */
size_t quant_kmeans1d_level_least(size_t k)
{
    size_t least = (size_t)(SHARE * (double)(k * k) * sqrt((double)k));
    return least > LEAST ? least : LEAST;
}

size_t quant_kmeans1d_level_nodes(size_t n, size_t k)
{
    return n < quant_kmeans1d_level_least(k) ? 0 : n / SHARE;
}

/* The sum over a zone of sqrt(W h) of blocks, at least that of any finer cells. */
static double roots_of(const levels *z, size_t low, size_t high)
{
    double room[2 * QUANT_PART], sum = 0;
    for (size_t from = low; from < high;) {
        size_t end = high - from < BLOCK ? high : from + BLOCK;
        quant_points p = quant_points_part(z->points, from, end, room);
        double weight = 0, width = p.value[p.n - 1] - p.value[0];
        for (size_t i = 0; i < p.n; i++) {
            weight += quant_scaled_weight(&z->t.sums, &p, i);
        }
        sum += sqrt(weight * quant_scaled(&z->t.sums, width));
        from = end;
    }
    return sum;
}

/* Append a node that ends a cell; false when there is no room. */
static int push(levels *z, size_t *m, size_t node, uint32_t apart)
{
    if (*m == z->room) {
        return 0;
    }
    z->t.start[*m] = 0;
    z->t.start[*m - 1] = apart;
    z->t.id[(*m)++] = (uint32_t)node;
    return 1;
}

/* The nodes of a zone, so few that W h of a cell of several points is up to limit. */
static int cut_zone(levels *z, size_t low, size_t high, double limit, size_t *m)
{
    const quant_kmeans1d_sums *a = &z->t.sums;
    double room[2 * QUANT_PART], weight = 0, left = 0;
    quant_points p;
    size_t cell = low;
    if (!push(z, m, low, 1)) {
        return 0;
    }
    for (size_t from = low; from < high; from += p.n) {
        p = quant_points_part(z->points, from, high, room);
        for (size_t i = 0; i < p.n; i++) {
            double x = quant_scaled(a, p.value[i]), w = quant_scaled_weight(a, &p, i);
            if (from + i > cell && (weight + w) * (x - left) > limit) {
                if (!push(z, m, from + i, 0)) {
                    return 0;
                }
                cell = from + i;
            }
            weight = cell == from + i ? w : weight + w;
            left = cell == from + i ? x : left;
            z->worst = fmax(z->worst, weight * (x - left));
        }
    }
    return high == low || push(z, m, high, 0);
}

/* Choose V: all nodes of the zones or about `want` of them; how many, 0 when they do not fit. */
static size_t cut(levels *z, int all, size_t want)
{
    double roots = 0;
    for (size_t i = 0; !all && i < z->zones; i++) {
        roots += roots_of(z, z->t.fewest[i], z->t.most[i]);
    }
    double each = roots / (double)want, limit = all ? -1 : each * each;
    for (int tries = 0; tries < 8; tries++, limit *= 2) {
        size_t m = 1, i = 0;
        z->t.id[0] = z->t.start[0] = 0;
        z->worst = 0;
        while (i < z->zones && cut_zone(z, z->t.fewest[i], z->t.most[i], limit, &m)) {
            i++;
        }
        if (i == z->zones && push(z, &m, z->points->n, 1)) {
            return m;
        }
        if (all) {
            return 0;
        }
    }
    return 0;
}

/* Cost of the path through every node of V. */
static double finest(const quant_kmeans1d_sums *a)
{
    double sum = a->square;
    for (size_t v = 0; v < a->n; v++) {
        double s = a->s.hi[v + 1] - a->s.hi[v], w = a->w.hi[v + 1] - a->w.hi[v];
        sum -= s * s / w;
    }
    return sum > 0 ? sum : 0;
}

static double guess(levels *z, size_t m)
{
    quant_kmeans1d_scratch *t = &z->t;
    for (size_t v = 0; v + 1 < m; v++) {
        t->behind[v] = quant_point_value(z->points, t->id[v]);
    }
    const quant_points cells = {t->behind, NULL, m - 1};
    return quant_kmeans1d_penalty_guess(&t->sums, &cells, z->k, t->path.from);
}

/* Paths over the m nodes of V; returns what a path may cost to be of interest. */
static double walk(levels *z, size_t m, int begins)
{
    quant_kmeans1d_scratch *t = &z->t;
    const quant_point_list *l = z->points;
    double slack, range = quant_point_value(l, l->n - 1) - quant_point_value(l, 0);
    t->rough = quant_kmeans1d_sums_rough_at(&t->sums, l, t->id, m);
    t->path.n = m - 1;
    t->finest = finest(&t->sums);
    z->penalty = begins ? guess(z, m) : z->penalty;
    quant_kmeans1d_search(t, z->k, &z->penalty, &slack);
    quant_kmeans1d_behind(t, z->penalty);
    double loss = z->worst / 2 * quant_scaled(&t->sums, range) * (1 + 0x1p-20);
    return t->path.g[m - 1] + slack + loss;
}

/* Nodes at and beside those of V that a path as cheap as limit visits, as far as the last zones
 * reach. */
static void find_zones(levels *z, double limit)
{
    quant_kmeans1d_scratch *t = &z->t;
    size_t n = t->sums.n, zones = 0;
    for (size_t v = 0; v <= n; v++) {
        size_t low = v == 0 ? 1 : t->id[v], high = v == n ? t->id[v] - (size_t)1 : t->id[v];
        low = v > 0 && !t->start[v - 1] ? t->id[v - 1] + (size_t)1 : low;
        high = v < n && !t->start[v] ? t->id[v + 1] - (size_t)1 : high;
        if (low > high || !quant_kmeans1d_near(t, v, limit)) {
            continue;
        }
        if (zones > 0 && low <= t->most[zones - 1] + (size_t)1) {
            t->most[zones - 1] = (uint32_t)high;
        } else {
            t->fewest[zones] = (uint32_t)low;
            t->most[zones++] = (uint32_t)high;
        }
    }
    z->zones = zones;
    z->nodes = 2;
    for (size_t i = 0; i < zones; i++) {
        z->nodes += t->most[i] - t->fewest[i] + (size_t)1;
    }
}

/* All nodes that matter are in V: decide among those near the best. */
static int settle(levels *z, double limit, size_t *first)
{
    quant_kmeans1d_scratch *t = &z->t;
    size_t m = 0;
    for (size_t v = 0; v <= t->sums.n; v++) {
        if (quant_kmeans1d_near(t, v, limit)) {
            t->id[m++] = t->id[v];
        }
    }
    if (m > z->k) {
        quant_kmeans1d_settle(t, z->points, m, z->k, z->penalty, first);
    }
    return m > z->k;
}

/* As many boundaries as are wanted are left: these. */
static int take_all(const levels *z, size_t *first)
{
    for (size_t c = 0; c < z->k; c++) {
        first[c] = z->t.id[c];
    }
    return 1;
}

static int decide(levels *z, size_t *first)
{
    size_t want = SQUARE * z->k * z->k > FEW ? SQUARE * z->k * z->k : FEW;
    want = want < z->room / 4 * 3 ? want : z->room / 4 * 3;
    for (int level = 0, stalled = 0; level < LEVELS; level++) {
        size_t before = z->nodes, m;
        int all = before <= (stalled ? z->room : 2 * want);
        m = cut(z, all, want);
        if (m < z->k + 2) {
            return all && m == z->k + 1 && take_all(z, first);
        }
        double limit = walk(z, m, level == 0);
        if (all) {
            return settle(z, limit, first);
        }
        find_zones(z, limit);
        if (stalled && z->nodes > before / 2) {
            return 0;
        }
        stalled = z->nodes > before / 2;
        want = stalled ? z->room / 4 * 3 : want;
    }
    return 0;
}

static void complete(levels *z, quant_clusters *clusters)
{
    quant_kmeans1d_scratch *t = &z->t;
    for (size_t c = 0; c < z->k; c++) {
        t->id[c] = (uint32_t)clusters->first[c];
    }
    t->id[z->k] = (uint32_t)z->points->n;
    t->rough = quant_kmeans1d_sums_rough_at(&t->sums, z->points, t->id, z->k + 1);
    t->exact = NULL;
    quant_kmeans1d_complete(t, z->points, clusters, t->id);
}

int quant_kmeans1d_levels(const quant_point_list *points, size_t k, size_t nodes, void *work,
                          quant_clusters *clusters)
{
    levels z = {.points = points, .room = nodes, .k = k, .zones = 1, .nodes = points->n + 1};
    if (nodes < k + 2 || points->n < k + 2) {
        return 0;
    }
    quant_kmeans1d_divide(&z.t, nodes, work);
    quant_kmeans1d_sums_scale(&z.t.sums, points);
    z.t.fewest[0] = 1;
    z.t.most[0] = (uint32_t)(points->n - 1);
    clusters->k = k;
    clusters->first[0] = 0;
    if (k > 1 && !decide(&z, clusters->first)) {
        return 0;
    }
    complete(&z, clusters);
    return 1;
}
