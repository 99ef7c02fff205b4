// Dense layers in bfloat16 with matrix instructions, and their gradients. Weights come as float and are rounded on their way
// into the first cache, a part at a time; their gradient goes out as float: nothing is copied in between. Vectors (rows,
// inputs) and their gradients are bfloat16, sums are float; rows, inputs and outputs are multiples of 32. What one thread sums
// up no other touches, so that every number of threads gives the same bits.

#include <omp.h>

#include "vectors.h"

#include "tiles.h"

namespace {

struct Sizes {  // as Python gives them
    int64_t rows, inputs, outputs, threads;
};

}  // namespace

#ifdef HAS_TILES

namespace {

constexpr int64_t UNIT = 2 * SIDE;    // columns that are multiplied together
constexpr int64_t NEAR = 512;         // inputs whose weights, for one unit, stay in the first cache
constexpr int64_t BROAD = 128;        // inputs whose gradients are made together: memory takes longer rows faster
constexpr int64_t PIECES = NEAR / DEEP;

// How many floats one thread needs, forward and backward: sums; packed weights and vectors.
inline int64_t floats_forward(const Sizes& s) { return s.rows * s.outputs + NEAR * UNIT / 2; }
inline int64_t floats_backward(const Sizes& s) { return s.rows * UNIT + BROAD * (s.outputs + s.rows) / 2; }

// Weights [output][input] of 32 outputs and some inputs, for the product with vectors: [32 inputs][16 outputs][in pairs].
void pack_weights(const float* weight, int64_t inputs, int64_t count, bfloat16* packed) {
    for (int64_t i = 0; i < count; i += DEEP)
        for (int64_t k = 0; k < UNIT; k += SIDE) {
            __m512i rows[16];
            for (int64_t r = 0; r < SIDE; ++r) {
                const float* from = weight + (k + r) * inputs + i;
                rows[r] = _mm512_inserti64x4(_mm512_castsi256_si512(halves(from)), halves(from + SIDE), 1);
            }
            turn_words(rows);
            for (int64_t r = 0; r < SIDE; ++r, packed += DEEP) _mm512_storeu_si512(packed, rows[r]);
        }
}

// Rows [row][column] of some columns, for products that sum over rows: for each 32 columns [32 rows][16 columns][in pairs].
// Read row by row, as memory gives longer rows faster.
template <class T>
void pack_rows(const T* from, int64_t step, int64_t rows, int64_t columns, bfloat16* packed) {
    for (int64_t r = 0; r < rows; r += 2) {
        const T *upper = from + r * step, *lower = upper + step;
        bfloat16* to = packed + r / DEEP * DEEP * UNIT + r % DEEP * SIDE;
        for (int64_t k = 0; k < columns; k += SIDE)
            _mm512_storeu_si512(to + k / UNIT * rows * UNIT + k % UNIT * DEEP, paired(halves(upper + k), halves(lower + k)));
    }
}

// sums[row][32 columns] (+)= Σ left[row][i] · packed; left rows and sums' rows so many numbers apart.
void multiply(const bfloat16* left, int64_t left_step, const bfloat16* packed, float* sums, int64_t sums_step,
              int64_t rows, int64_t count, bool added) {
    const Places p{left_step * 2, SIDE * left_step, PACKED, sums_step * 4, SIDE * sums_step, SIDE};
    in_pairs(UNIT / SIDE, [&](int64_t block, auto many_columns) {
        in_pairs(rows / SIDE, [&](int64_t tile, auto many_rows) {
            Sums<many_rows, many_columns> sum(p);
            float* to = sums + tile * SIDE * sums_step + block * SIDE;
            added ? sum.load(to) : sum.zero();
            for (int64_t i = 0; i < count; i += DEEP)
                sum.add(left + tile * SIDE * left_step + i, packed + i * UNIT + block * PACKED);
            sum.store(to);
        });
    });
}

// out[row][output] = bias + Σ vectors · weight.
void dense(const Sizes& s, const bfloat16* vectors, const float* weight, const float* bias, bfloat16* out,
           float* memory) {
    const int64_t units = s.outputs / UNIT;
#pragma omp parallel num_threads(s.threads)
    {
        const Tiles tiles;
        const int64_t number = omp_get_thread_num(), many = omp_get_num_threads();
        const int64_t from = units * number / many, to = units * (number + 1) / many;
        float* sums = memory + number * floats_forward(s);  // [unit][row][32 outputs]
        bfloat16* packed = reinterpret_cast<bfloat16*>(sums + s.rows * s.outputs);
        for (int64_t i = 0; i < s.inputs; i += NEAR)  // vectors' parts stay in the second cache for all units
            for (int64_t unit = from; unit < to; ++unit) {
                const int64_t count = least(NEAR, s.inputs - i);
                pack_weights(weight + unit * UNIT * s.inputs + i, s.inputs, count, packed);
                multiply(vectors + i, s.inputs, packed, sums + unit * s.rows * UNIT, UNIT, s.rows, count, i > 0);
            }
        for (int64_t unit = from; unit < to; ++unit)
            for (int64_t row = 0; row < s.rows; ++row)
                for (int64_t k = 0; k < UNIT; k += WIDTH) {
                    const Vector sum = load(sums + (unit * s.rows + row) * UNIT + k);
                    store(out + row * s.outputs + unit * UNIT + k, bias ? sum + load(bias + unit * UNIT + k) : sum);
                }
    }
}

// The gradients of vectors and weight (either may be null) from that of the outputs (rows, outputs) and `turned` (outputs,
// rows), some inputs at a time.
void dense_gradient(const Sizes& s, const bfloat16* vectors, const float* weight, const bfloat16* out_gradient,
                    const bfloat16* turned, bfloat16* gradient, float* weights, float* memory) {
    const int64_t parts = (s.inputs + BROAD - 1) / BROAD;
#pragma omp parallel num_threads(s.threads)
    {
        const Tiles tiles;
        float* sums = memory + omp_get_thread_num() * floats_backward(s);
        bfloat16* packed = reinterpret_cast<bfloat16*>(sums + s.rows * UNIT);
#pragma omp for schedule(static)
        for (int64_t part = 0; part < parts; ++part) {
            const int64_t first = part * BROAD, end = least(first + BROAD, s.inputs);
            if (gradient) pack_rows(weight + first, s.inputs, s.outputs, end - first, packed);
            for (int64_t i = first; gradient && i < end; i += UNIT) {
                multiply(out_gradient, s.outputs, packed + (i - first) * s.outputs, sums, UNIT, s.rows, s.outputs, false);
                for (int64_t row = 0; row < s.rows; ++row)
                    for (int64_t k = 0; k < UNIT; k += WIDTH)
                        store(gradient + row * s.inputs + i + k, load(sums + row * UNIT + k));
            }
            if (weights) pack_rows(vectors + first, s.inputs, s.rows, end - first, packed);
            for (int64_t i = first; weights && i < end; i += UNIT)
                multiply(turned, s.rows, packed + (i - first) * s.rows, weights + i, s.inputs, s.outputs, s.rows, false);
        }
    }
}

}  // namespace

// ---- what Python calls --------------------------------------------------------------------------------------------------

extern "C" {

// Floats that all threads together need, forward and backward.
void scratch_float32(int64_t* forward_backward, const Sizes* sizes) {
    forward_backward[0] = sizes->threads * floats_forward(*sizes);
    forward_backward[1] = sizes->threads * floats_backward(*sizes);
}
void dense_bfloat16(const bfloat16* vectors, const float* weight, const float* bias, bfloat16* out, float* memory,
                    const Sizes* sizes) {
    dense(*sizes, vectors, weight, bias, out, memory);
}
void dense_gradient_bfloat16(const bfloat16* vectors, const float* weight, const bfloat16* out_gradient,
                             const bfloat16* turned, bfloat16* gradient, float* weights, float* memory,
                             const Sizes* sizes) {
    dense_gradient(*sizes, vectors, weight, out_gradient, turned, gradient, weights, memory);
}

}  // extern "C"

#endif
