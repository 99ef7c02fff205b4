/* What is done to the pixels of every picture as it is read: Pillow's resize, called by `stretching.py`, and sums, called
   by `statistics.py`.

   Pillow's resize of an RGB picture, bit for bit, several times as fast. Two passes, along the rows and along the columns. Each result is a weighted sum of a few neighbours in whole numbers
   with 22 bits after the point, rounded to the nearest and cut to 0 … 255. To have many sums side by side in vectors,
   sixteen rows at a time are turned on their side and back again. Source of the arithmetic: Pillow,
   src/libImaging/Resample.c; the rest is ours. */

#include <cstdint>
#include <cstring>

enum { SIDE = 16, LANES = 8, BLOCK = 6 };
static const int32_t BITS = 22, HALF = 1 << (BITS - 1);

typedef uint8_t bytes __attribute__((vector_size(SIDE)));

static inline bytes loaded(const uint8_t *from) {
    bytes values;
    memcpy(&values, from, SIDE);
    return values;
}

static inline void store(uint8_t *to, bytes values) { memcpy(to, &values, SIDE); }

/* Columns become rows. Four times, row i of the upper half is interleaved with row i of the lower half. */
static inline void turn(bytes square[SIDE]) {
    const bytes low = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
    const bytes high = low + 8;
    for (int round = 0; round < 4; round++) {
        bytes next[SIDE];
        for (int i = 0; i < SIDE / 2; i++) {
            next[2 * i] = __builtin_shuffle(square[i], square[i + SIDE / 2], low);
            next[2 * i + 1] = __builtin_shuffle(square[i], square[i + SIDE / 2], high);
        }
        memcpy(square, next, sizeof next);
    }
}

typedef int32_t ints __attribute__((vector_size(4 * LANES)));

static inline int least(int a, int b) { return a < b ? a : b; }

static inline uint8_t cut(int32_t sum) {
    const int32_t value = sum >> BITS;
    return value < 0 ? 0 : value > 255 ? 255 : value;
}

static inline ints widened(const uint8_t *from) {
    int32_t wide[LANES];
    for (int i = 0; i < LANES; i++) wide[i] = from[i];
    ints values;
    memcpy(&values, wide, sizeof values);
    return values;
}

/* BLOCK * LANES sums at a time, in registers all the while: of `count` rows, `step` bytes apart, each times its weight. */
static inline void weighed(const uint8_t *from, int64_t step, int count, const int32_t *weights, uint8_t *to) {
    ints sums[BLOCK];
    for (int i = 0; i < BLOCK; i++) sums[i] = ints{} + HALF;
    for (int k = 0; k < count; k++, from += step)
        for (int i = 0; i < BLOCK; i++) sums[i] += widened(from + i * LANES) * weights[k];
    int32_t rounded[BLOCK * LANES];
    memcpy(rounded, sums, sizeof rounded);
    for (int i = 0; i < BLOCK * LANES; i++) to[i] = cut(rounded[i]);
}

/* from    (rows, from_width, 3), 3 * from_width at least SIDE, width at least SIDE
   first   (width,), the first pixel that counts for each pixel of the result
   weights (width, count)
   turned  (from_width, 3, SIDE) and narrow (width, 3, SIDE) are room to work in
   to      (3, rows, width) */
static void along_rows(const uint8_t *from, int rows, int from_width, const int32_t *first, int count,
                       const int32_t *weights, int width, uint8_t *turned, uint8_t *narrow, uint8_t *to) {
    static_assert(BLOCK * LANES == 3 * SIDE, "a block is one pixel of so many rows");
    const int row_bytes = 3 * from_width;
    bytes square[SIDE];
    for (int top = 0; top < rows; top += SIDE) {
        for (int start = 0; start < row_bytes; start += SIDE) {
            const int at = least(start, row_bytes - SIDE);
            for (int i = 0; i < SIDE; i++) square[i] = loaded(from + (int64_t)least(top + i, rows - 1) * row_bytes + at);
            turn(square);
            for (int i = 0; i < SIDE; i++) store(turned + (int64_t)(at + i) * SIDE, square[i]);
        }
        for (int x = 0; x < width; x++)
            weighed(turned + (int64_t)first[x] * 3 * SIDE, 3 * SIDE, count, weights + (int64_t)x * count,
                    narrow + (int64_t)x * 3 * SIDE);
        for (int c = 0; c < 3; c++)
            for (int start = 0; start < width; start += SIDE) {
                const int at = least(start, width - SIDE);
                for (int i = 0; i < SIDE; i++) square[i] = loaded(narrow + ((int64_t)(at + i) * 3 + c) * SIDE);
                turn(square);
                for (int i = 0; i < least(SIDE, rows - top); i++)
                    store(to + ((int64_t)c * rows + top + i) * width + at, square[i]);
            }
    }
}

/* from (from_rows, width) -> to (rows, width) */
static void along_columns(const uint8_t *from, int width, const int32_t *first, int count, const int32_t *weights,
                          int rows, uint8_t *to) {
    const int wide = BLOCK * LANES;
    for (int y = 0; y < rows; y++) {
        const uint8_t *row = from + (int64_t)first[y] * width;
        const int32_t *parts = weights + (int64_t)y * count;
        uint8_t *const line = to + (int64_t)y * width;
        for (int start = 0; start < width && wide <= width; start += wide) {
            const int at = least(start, width - wide);
            weighed(row + at, width, count, parts, line + at);
        }
        for (int x = 0; x < width && width < wide; x++) {
            int32_t sum = HALF;
            for (int k = 0; k < count; k++) sum += row[(int64_t)k * width + x] * parts[k];
            line[x] = cut(sum);
        }
    }
}

/* from (from_height, from_width, 3) -> to (3, height, width), along the columns first or last. The others are room to
   work in: between for 3 * (height or from_height) * (from_width or width) bytes, sums for 3 * from_width or width. */
extern "C" void convscope_stretch(int columns_first, const uint8_t *from, int from_height, int from_width, const int32_t *first_x,
                       int count_x, const int32_t *weights_x, const int32_t *first_y, int count_y,
                       const int32_t *weights_y, int height, int width, uint8_t *turned, uint8_t *narrow,
                       uint8_t *between, uint8_t *to) {
    if (columns_first) {
        along_columns(from, 3 * from_width, first_y, count_y, weights_y, height, between);
        along_rows(between, height, from_width, first_x, count_x, weights_x, width, turned, narrow, to);
        return;
    }
    along_rows(from, from_height, from_width, first_x, count_x, weights_x, width, turned, narrow, between);
    for (int c = 0; c < 3; c++)
        along_columns(between + (int64_t)c * from_height * width, width, first_y, count_y, weights_y, height,
                      to + (int64_t)c * height * width);
}

/* pixels (channels, count); to (channels, 2), to which the sum of each channel and that of its squares are added. */
extern "C" void convscope_add_sums(const uint8_t *pixels, int64_t channels, int64_t count, int64_t *to) {
    const int64_t at_once = 65536; /* so many squares of bytes add up to less than 2^32 */
    for (int64_t c = 0; c < channels; c++, pixels += count, to += 2)
        for (int64_t start = 0; start < count; start += at_once) {
            const int64_t end = start + at_once < count ? start + at_once : count;
            uint32_t sum = 0, squares = 0;
            for (int64_t i = start; i < end; i++) {
                sum += pixels[i];
                squares += (uint32_t)pixels[i] * pixels[i];
            }
            to[0] += sum;
            to[1] += squares;
        }
}
