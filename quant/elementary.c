/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/elementary.h"

#include <math.h>

#include "quant/dd.h"

/* x = m 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m-1)/(m+1), |s| <= 0.1716, in
 * double-double. The series stops after s^41/41: what is left is at most s^42/43/(1-s^2) < 2^-112
 * of the sum. With v = 2^-106 and the bounds of dd.h: m-1 and m+1 are exact, s errs by 15 v, s^2
 * by 37 v, the sum, which begins with 1, by less than 6 v, log m by 35 v. Where e is not 0,
 * |e log 2| is at least twice |log m|, so their sum errs by at most 35 + 2 * 8 + 3 of v, and the
 * result by 62 v < 2^-100. */
double quant_log10(double x)
{
    static const quant_dd log2 = {0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56};
    static const quant_dd per_log10 = {0x1.bcb7b1526e50ep-2, 0x1.95355baaafad3p-57};
    if (!(x > 0) || isinf(x)) {
        return x == 0 ? -INFINITY : x > 0 ? x : NAN;
    }
    int e;
    double m = frexp(x, &e);
    if (m < 0x1.6a09e667f3bcdp-1) {
        m *= 2;
        e--;
    }
    quant_dd s = quant_dd_div(quant_dd_two_sum(m, -1), quant_dd_two_sum(m, 1));
    quant_dd z = quant_dd_mul(s, s), sum = {0, 0};
    for (int k = 41; k >= 1; k -= 2) {
        quant_dd term = quant_dd_div(quant_dd_of(1), quant_dd_of(k));
        sum = quant_dd_add(quant_dd_mul(sum, z), term);
    }
    quant_dd log_m = quant_dd_mul(quant_dd_mul(s, sum), quant_dd_of(2));
    quant_dd log_x = quant_dd_add(quant_dd_mul(quant_dd_of(e), log2), log_m);
    return quant_dd_mul(log_x, per_log10).hi;
}

/* x = k log 2 + r, |r| <= 0.3466, log 2 in a part of 33 bits, whose product with k is exact, and a
 * rest. With u = 2^-53, relative to the result: the last subtraction of r costs 0.36 u, what the
 * series leaves out after r^13/13! 0.04 u, the last addition of the Horner sum u, the product in it
 * 0.41 u and all before 0.62 u, since |e^r - 1| <= 0.42 e^r. In all less than 2.5 u. */
double quant_exp(double x)
{
    const double k = rint(x * 0x1.71547652b82fep0);
    const double r = (x - k * 0x1.62e42fefp-1) - k * 0x1.473de6af278edp-34;
    double sum = 1;
    for (int i = 13; i >= 1; i--) {
        sum = 1 + sum * r / i;
    }
    return ldexp(sum, (int)k);
}
