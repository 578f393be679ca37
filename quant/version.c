/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernels.h"
#include "quant/quant.h"

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const char *quant_version(void)
{
    return TEXT(QUANT_VERSION_MAJOR) "." TEXT(QUANT_VERSION_MINOR) "." TEXT(QUANT_VERSION_PATCH);
}

const char *quant_isa(void)
{
    return qk()->name;
}
