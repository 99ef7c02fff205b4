// Winograd's method for float maps: what scoring uses, and training in float32.

#include "winograd.h"

extern "C" {

FOR_NUMBERS(float, Large, float32)
FOR_NUMBERS(float, Small, small_float32)
FOR_TWO(float, Large, float32)
FOR_KIND(Large, float32)
FOR_KIND(Small, small_float32)
FOR_SCRATCH_TWO(Large, float32)

// Weights (places, rows, columns), transformed elsewhere, as the passes take them.
void pack_places_float32(const float* places, float* packed, int64_t how_many, int64_t rows, int64_t columns) {
    for (int64_t row = 0; row < how_many * rows; ++row)
        each_vector(row % rows, rows, columns, [&](int64_t from, int64_t to) {
            const int64_t place = row / rows * rows * columns;
            store(packed + place + to, load(places + place + from));
        });
}

}  // extern "C"
