// Winograd's method for bfloat16 maps, multiplied as floats; what does not depend on the maps is in winograd.cpp.

#include "winograd.h"

extern "C" {

FOR_NUMBERS(bfloat16, Large, bfloat16)
FOR_NUMBERS(bfloat16, Small, small_bfloat16)
FOR_TWO(bfloat16, Large, bfloat16)

}  // extern "C"
