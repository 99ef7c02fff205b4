// Layers as products of matrices: dense layers, and convolutions of any window and step over gathered patches: each
// pixel's window is copied to a row (im2col), a few rows at a time, so that they stay in the caches. The gradient of the
// weights multiplies the same rows from the other side; that of the maps makes rows and adds them where they came from.
// All float; filters are multiples of 16. Maps lie pixel by pixel: (images, rows, columns, channels).
//
// Sums over images are made in parts that do not depend on the number of threads, so that every number of threads gives
// the same bits. Source of the blocking: K. Goto & R. van de Geijn, "Anatomy of high-performance matrix
// multiplication" (2008), with the sizes chosen by measurement.

#include <omp.h>

#include "turn.h"
#include "vectors.h"

namespace {

constexpr int64_t DEEP = 192;  // products added up in registers before they go to memory; a panel of them stays in L1

// Numbers [i][k] from anywhere in memory to panels of columns, each [i][columns of the panel]: read in order later.
inline void pack_panels(const float* from, int64_t sum_step, int64_t column_step, float* panels, int64_t count,
                        int64_t columns) {
    if (column_step == 1) {  // row by row, as memory gives whole lines in a row faster
        for (int64_t i = 0; i < count; ++i)
            in_panels(columns, [&](int64_t first, auto vectors) {
                float* to = panels + first * count + i * vectors * WIDTH;
                for (int64_t k = 0; k < vectors * WIDTH; k += WIDTH) store(to + k, load(from + i * sum_step + first + k));
            });
        return;
    }
    in_panels(columns, [&](int64_t first, auto vectors) {
        constexpr int64_t WIDE = vectors * WIDTH;
        const float* source = from + first * column_step;
        float* to = panels + first * count;
        int64_t i = 0;
        for (; sum_step == 1 && i + SQUARE <= count; i += SQUARE)
            for (int64_t k = 0; k < WIDE; k += SQUARE)
                turn_square(source + i + k * column_step, column_step, to + i * WIDE + k, WIDE);
        for (; i < count; ++i)
            for (int64_t k = 0; k < WIDE; ++k) to[i * WIDE + k] = source[i * sum_step + k * column_step];
    });
}

// ---- one product of matrices ------------------------------------------------------------------------------------------

struct Product {
    int64_t rows, count, columns;               // of left, of the sum, of right
    int64_t left_row, left_sum;                 // steps in memory
    int64_t right_sum, right_column, out_row;
    int64_t threads;
};

constexpr int64_t NARROW = MOST_COLUMNS * WIDTH, BROAD = 64;

// out[row][column] = bias[column] + Σ left · right. Each thread packs the columns that it works on: broad pieces where
// there are enough for all, as memory gives and takes whole lines in a row faster.
void product(const float* left, const float* right, const float* bias, float* out, const Product& p) {
    const int64_t broad = p.columns < BROAD * p.threads ? NARROW : BROAD, panels = (p.columns + broad - 1) / broad;
#pragma omp parallel for schedule(static) num_threads(p.threads)
    for (int64_t number = 0; number < panels; ++number) {
        const int64_t first = number * broad, width = least(broad, p.columns - first);
        float panel[DEEP * BROAD];
        for (int64_t i = 0; i < p.count; i += DEEP) {
            const int64_t deep = least(DEEP, p.count - i);
            pack_panels(right + i * p.right_sum + first * p.right_column, p.right_sum, p.right_column, panel, deep,
                        width);
            in_panels(width, [&](int64_t k, auto vectors) {
                const float* from = left + i * p.left_sum;
                const float* packed = panel + k * deep;
                float* to = out + first + k;
                if (i)
                    multiply_rows<true, vectors>(from, p.left_row, p.left_sum, packed, vectors * WIDTH, to, p.out_row,
                                                 p.rows, deep);
                else
                    multiply_rows<false, vectors>(from, p.left_row, p.left_sum, packed, vectors * WIDTH, to, p.out_row,
                                                  p.rows, deep);
            });
        }
        for (int64_t row = 0; bias && row < p.rows; ++row)
            for (int64_t k = first; k < first + width; k += WIDTH) {
                float* to = out + row * p.out_row + k;
                store(to, load(to) + load(bias + k));
            }
    }
}

// ---- convolutions over patches ----------------------------------------------------------------------------------------

struct Shape {
    int64_t images, height, width, channels, filters, out_height, out_width, size_y, size_x, stride_y, stride_x;
    int64_t pad_y, pad_x, relu, at_once, threads, parts;

    int64_t numbers() const { return size_y * size_x * channels; }  // under a window
    int64_t out_pixels() const { return out_height * out_width; }   // of one image
    // Floats of one thread: rows of patches; rows of gradients, plain and in panels.
    int64_t scratch() const { return at_once * (numbers() + 2 * filters); }
};

// Calls work(offset in the row, offset in the image or -1 outside it, how many) for the pieces of a pixel's window that
// lie together in memory.
template <class Work>
inline void window(const Shape& s, int64_t pixel, const Work& work) {
    const int64_t top = pixel / s.out_width * s.stride_y - s.pad_y, left = pixel % s.out_width * s.stride_x - s.pad_x;
    const int64_t run = s.size_x * s.channels, row_numbers = s.width * s.channels;
    const int64_t begin = least(most(-left, 0), s.size_x), end = most(least(s.width - left, s.size_x), begin);
    for (int64_t y = 0; y < s.size_y; ++y) {
        const int64_t at = y * run, row = top + y;
        if (row < 0 || row >= s.height) {
            work(at, int64_t(-1), run);
            continue;
        }
        if (begin) work(at, int64_t(-1), begin * s.channels);
        if (end > begin)
            work(at + begin * s.channels, row * row_numbers + (left + begin) * s.channels, (end - begin) * s.channels);
        if (end < s.size_x) work(at + end * s.channels, int64_t(-1), (s.size_x - end) * s.channels);
    }
}

void gather(const Shape& s, const float* maps, int64_t first, int64_t count, float* rows) {
    for (int64_t p = 0; p < count; ++p) {
        const int64_t image = (first + p) / s.out_pixels(), pixel = (first + p) % s.out_pixels();
        const float* from = maps + image * s.height * s.width * s.channels;
        float* row = rows + p * s.numbers();
        window(s, pixel, [&](int64_t at, int64_t source, int64_t many) {
            if (source < 0)
                std::memset(row + at, 0, sizeof(float) * many);
            else
                std::memcpy(row + at, from + source, sizeof(float) * many);
        });
    }
}

// The opposite: rows added to the image's numbers that they stand for.
void scatter(const Shape& s, const float* rows, int64_t first, int64_t count, float* gradient) {
    for (int64_t p = 0; p < count; ++p) {
        const int64_t image = (first + p) / s.out_pixels(), pixel = (first + p) % s.out_pixels();
        float* to = gradient + image * s.height * s.width * s.channels;
        const float* row = rows + p * s.numbers();
        window(s, pixel, [&](int64_t at, int64_t target, int64_t many) {
            if (target < 0) return;
            for (int64_t i = 0; i < many; i += WIDTH) {  // channels are a multiple of it
                float* number = to + target + i;
                store(number, load(number) + load(row + at + i));
            }
        });
    }
}

// sums[row][k] = Σ left[row][i] · packed[i][k], rows of `count` numbers, with `packed` in panels.
void multiply_packed(const float* left, const float* packed, float* sums, int64_t rows, int64_t count,
                     int64_t columns) {
    for (int64_t i = 0; i < count; i += DEEP) {
        const int64_t deep = least(DEEP, count - i);
        in_panels(columns, [&](int64_t k, auto vectors) {
            const float* panel = packed + k * count + i * vectors * WIDTH;
            if (i)
                multiply_rows<true, vectors>(left + i, count, 1, panel, vectors * WIDTH, sums + k, columns, rows, deep);
            else
                multiply_rows<false, vectors>(left + i, count, 1, panel, vectors * WIDTH, sums + k, columns, rows,
                                              deep);
        });
    }
}

// weights[i][k] += Σ rows[pixel][i] · gradient[pixel][k], `weights` in panels; `packed` is for the gradient's.
void add_packed(const float* rows, const float* gradient, float* packed, float* weights, int64_t pixels, int64_t count,
                int64_t columns) {
    in_panels(columns, [&](int64_t k, auto vectors) {
        constexpr int64_t WIDE = vectors * WIDTH;
        pack_panels(gradient + k, columns, 1, packed, pixels, WIDE);
        multiply_rows<true, vectors>(rows, 1, count, packed, WIDE, weights + k * count, WIDE, count, pixels);
    });
}

void shift(float* sums, const float* bias, bool relu, int64_t rows, int64_t columns) {
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t k = 0; k < columns; k += WIDTH) {
            Vector value = load(sums + row * columns + k);
            if (bias) value += load(bias + k);
            store(sums + row * columns + k, relu ? where_positive(value, value) : value);
        }
}

// The gradient of a block of outputs through the relu, and its sum to the bias's.
void entering(const float* gradient, const float* out, float* masked, float* bias, int64_t rows, int64_t columns) {
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t k = 0; k < columns; k += WIDTH) {
            const int64_t at = row * columns + k;
            Vector value = load(gradient + at);
            if (out) value = where_positive(load(out + at), value);
            store(masked + at, value);
            store(bias + k, load(bias + k) + value);
        }
}

}  // namespace

// ---- what Python calls ------------------------------------------------------------------------------------------------

extern "C" {

void product_float32(const float* left, const float* right, const float* bias, float* out, const Product* p) {
    product(left, right, bias, out, *p);
}

// Floats that all threads together need.
void scratch_float32(int64_t* floats, const Shape* s) { *floats = s->threads * s->scratch(); }

// Numbers [i][k] of a matrix anywhere in memory, in panels.
void pack_float32(const float* from, int64_t sum_step, int64_t column_step, float* packed, int64_t count,
                  int64_t columns) {
    pack_panels(from, sum_step, column_step, packed, count, columns);
}

void convolve_float32(const float* maps, const float* packed, const float* bias, float* out, float* scratch,
                      const Shape* shape) {
    const Shape& s = *shape;
    const int64_t all = s.images * s.out_pixels(), blocks = (all + s.at_once - 1) / s.at_once;
#pragma omp parallel for schedule(static) num_threads(s.threads)
    for (int64_t block = 0; block < blocks; ++block) {
        float *rows = scratch + omp_get_thread_num() * s.scratch(), *to = out + block * s.at_once * s.filters;
        const int64_t first = block * s.at_once, pixels = least(all - first, s.at_once);
        gather(s, maps, first, pixels, rows);
        multiply_packed(rows, packed, to, pixels, s.numbers(), s.filters);
        if (bias || s.relu) shift(to, bias, s.relu, pixels, s.filters);
    }
}

// turned: the weights [filter][number under the window] in panels, null where the maps need no gradient. weights:
// (parts, numbers · filters), null where they need none; biases: (parts, filters).
void convolve_gradient_float32(const float* maps, const float* out_gradient, const float* out, const float* turned,
                               float* gradient, float* weights, float* biases, float* scratch, const Shape* shape) {
    const Shape& s = *shape;
    const int64_t size = s.numbers() * s.filters, image_numbers = s.height * s.width * s.channels;
#pragma omp parallel for schedule(static) num_threads(s.threads)
    for (int64_t part = 0; part < s.parts; ++part) {
        float *rows = scratch + omp_get_thread_num() * s.scratch(), *masked = rows + s.at_once * s.numbers();
        float *packed = masked + s.at_once * s.filters, *bias = biases + part * s.filters;
        const int64_t from = s.images * part / s.parts, to = s.images * (part + 1) / s.parts;
        std::memset(bias, 0, sizeof(float) * s.filters);
        if (weights) std::memset(weights + part * size, 0, sizeof(float) * size);
        if (turned) std::memset(gradient + from * image_numbers, 0, sizeof(float) * (to - from) * image_numbers);
        for (int64_t first = from * s.out_pixels(); first < to * s.out_pixels(); first += s.at_once) {
            const int64_t pixels = least(to * s.out_pixels() - first, s.at_once), at = first * s.filters;
            entering(out_gradient + at, s.relu ? out + at : nullptr, masked, bias, pixels, s.filters);
            if (weights) {
                gather(s, maps, first, pixels, rows);
                add_packed(rows, masked, packed, weights + part * size, pixels, s.numbers(), s.filters);
            }
            if (turned) {
                multiply_packed(masked, turned, rows, pixels, s.filters, s.numbers());
                scatter(s, rows, first, pixels, gradient);
            }
        }
    }
}

// The parts of the weights' gradient (parts, numbers · filters in panels), summed in order, to (filters, numbers).
void sum_parts_float32(const float* parts, float* gradient, int64_t count, int64_t columns, int64_t how_many) {
    in_panels(columns, [&](int64_t first, auto vectors) {
        constexpr int64_t WIDE = vectors * WIDTH;
        for (int64_t i = 0; i < count; ++i)
            for (int64_t k = 0; k < WIDE; ++k) {
                const float* from = parts + first * count + i * WIDE + k;
                float sum = from[0];
                for (int64_t part = 1; part < how_many; ++part) sum += from[part * count * columns];
                gradient[(first + k) * count + i] = sum;
            }
    });
}

}  // extern "C"
