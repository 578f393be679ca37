/* SPDX-License-Identifier: Apache-2.0 */
/* neon_override.c - what the NEON level has of its own. */
#include "kernels/neon.h"

bool qk_override_neon(qk_table *t)
{
#if defined(QK_HAS_NEON)
#define QK_OP(op, cls) t->op = qk_##op##_neon;
#include "kernels/neon.def"
#undef QK_OP
    /* Non-temporal stores are beyond intrinsics, and cores that see whole lines being written need
     * not read them first: what goes past the caches elsewhere goes through them here. */
    t->stream_linear = qk_decode_linear_neon;
    t->stream_blocks = qk_decode_blocks_neon;
    t->stream_codebook = qk_decode_codebook_neon;
    t->stream_f16 = qk_f16_to_f32_neon;
    t->stream_bf16 = qk_bf16_to_f32_neon;
    return true;
#else
    (void)t;
    return false;
#endif
}
