// Winograd's method for bfloat16 maps with products of bfloat16 numbers, where the processor has instructions for them.

#include "winograd.h"

extern "C" {

#ifdef HAS_PAIRS

FOR_NUMBERS(bfloat16, Half, half_bfloat16)
FOR_NUMBERS(bfloat16, SmallHalf, small_half_bfloat16)
FOR_TWO(bfloat16, Half, half_bfloat16)
FOR_KIND(Half, half_float32)
FOR_KIND(SmallHalf, small_half_float32)
FOR_SCRATCH_TWO(Half, half_float32)
int permitted() { return 1; }

#else

int permitted() { return 0; }

#endif

}  // extern "C"
