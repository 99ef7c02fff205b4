// The first convolution of a network with its relu, image by image, for whoever has a use for its maps at once: they are
// many times as large as the picture, and made again sooner than they come back from memory. All float, but for the maps,
// which may be bfloat16; filters are multiples of 16. Needs vectors.h and few.h.

namespace {

struct First {
    const float *pictures, *weight, *bias;  // weight (size_y, size_x, in_channels, filters)
    const Few& f;

    int64_t bordered() const { return (f.height + 2 * f.pad_y) * f.row(); }
    int64_t maps() const { return f.out_height * maps_row(); }
    int64_t maps_row() const { return f.out_width * f.out_channels; }

    // The picture with its border of zeros.
    void border(int64_t image, float* to) const {
        const int64_t numbers = f.width * f.in_channels;
        const float* from = pictures + image * f.height * numbers;
        std::memset(to, 0, sizeof(float) * bordered());
        for (int64_t y = 0; y < f.height; ++y)
            std::memcpy(to + (y + f.pad_y) * f.row() + f.pad_x * f.in_channels, from + y * numbers,
                        sizeof(float) * numbers);
    }

    // The maps of a picture with its border; their rows lie so many numbers apart.
    template <class T>
    void forward(const float* bordered, T* maps, int64_t maps_row) const {
        int64_t places[FEW_TAPS];
        places_of(f, places);
        for (int64_t y = 0; y < f.out_height; ++y) {
            const float* under = bordered + y * f.stride_y * f.row();
            T* row = maps + y * maps_row;
            in_panels(f.out_channels, [&](int64_t k, auto vectors) {
                int64_t x = 0;
                const auto some = [&](auto pixels) {
                    for (; x + pixels <= f.out_width; x += pixels)
                        make<pixels, vectors>(under + x * f.stride_x * f.in_channels, places, k,
                                              row + x * f.out_channels + k);
                };
                some(std::integral_constant<int64_t, MOST_ROWS>{});
                some(std::integral_constant<int64_t, 1>{});
            });
        }
    }

    // Adds what the gradient of a picture's maps, through the relu, gives to that of weight and bias (one more row).
    // `gradient` has its own step between rows, and is masked in place.
    template <class T>
    void backward(const float* bordered, const T* maps, int64_t maps_row, float* gradient, int64_t step,
                  float* weights) const {
        const int64_t row = f.out_width * f.out_channels, taps = f.taps(), run = f.size_x * f.in_channels;
        for (int64_t y = 0; y < f.out_height; ++y) {
            const float* under = bordered + y * f.stride_y * f.row();
            float *entering = gradient + y * step, *bias = weights + taps * f.out_channels;
            for (int64_t i = 0; i < row; i += WIDTH)
                store(entering + i, where_positive(load(maps + y * maps_row + i), load(entering + i)));
            for (int64_t k = 0; k < f.out_channels; k += WIDTH) {
                Vector sum = load(bias + k);
                for (int64_t i = k; i < row; i += f.out_channels) sum += load(entering + i);
                store(bias + k, sum);
            }
            for (int64_t t = 0; t < taps;) {  // numbers of a window that lie together in its row
                const int64_t at = t / run * f.row() + t % run, together = run - t % run < TAPS ? 1 : TAPS;
                for (int64_t k = 0; k < f.out_channels; k += FEW_WIDTH) {
                    float* to = weights + t * f.out_channels + k;
                    together == 1 ? add<1>(under + at, entering + k, to) : add<TAPS>(under + at, entering + k, to);
                }
                t += together;
            }
        }
    }

private:
    template <int64_t PIXELS, int64_t VECTORS, class T>
    void make(const float* under, const int64_t* places, int64_t k, T* to) const {
        const int64_t step = f.stride_x * f.in_channels, taps = f.taps();
        Vector sum[PIXELS][VECTORS];
#pragma GCC unroll 6
        for (int64_t p = 0; p < PIXELS; ++p)
#pragma GCC unroll 4
            for (int64_t v = 0; v < VECTORS; ++v) sum[p][v] = load(bias + k + v * WIDTH);
        for (int64_t t = 0; t < taps; ++t) {
            const float *at = under + places[t], *row = weight + t * f.out_channels + k;
#pragma GCC unroll 6
            for (int64_t p = 0; p < PIXELS; ++p)
#pragma GCC unroll 4
                for (int64_t v = 0; v < VECTORS; ++v) sum[p][v] += at[p * step] * load(row + v * WIDTH);
        }
#pragma GCC unroll 6
        for (int64_t p = 0; p < PIXELS; ++p)
#pragma GCC unroll 4
            for (int64_t v = 0; v < VECTORS; ++v)
                store(to + p * f.out_channels + v * WIDTH, where_positive(sum[p][v], sum[p][v]));
    }

    static constexpr int64_t TAPS = 3;  // so many times the vectors of FEW_WIDTH filters fill the registers

    template <int64_t MANY>
    void add(const float* under, const float* gradient, float* weights) const {
        constexpr int64_t VECTORS = FEW_WIDTH / WIDTH;
        const int64_t step = f.stride_x * f.in_channels;
        Vector sum[MANY][VECTORS];
#pragma GCC unroll 3
        for (int64_t t = 0; t < MANY; ++t)
#pragma GCC unroll 8
            for (int64_t v = 0; v < VECTORS; ++v) sum[t][v] = load(weights + t * f.out_channels + v * WIDTH);
        for (int64_t x = 0; x < f.out_width; ++x) {
#pragma GCC unroll 8
            for (int64_t v = 0; v < VECTORS; ++v) {
                const Vector value = load(gradient + x * f.out_channels + v * WIDTH);
#pragma GCC unroll 3
                for (int64_t t = 0; t < MANY; ++t) sum[t][v] += under[x * step + t] * value;
            }
        }
#pragma GCC unroll 3
        for (int64_t t = 0; t < MANY; ++t)
#pragma GCC unroll 8
            for (int64_t v = 0; v < VECTORS; ++v) store(weights + t * f.out_channels + v * WIDTH, sum[t][v]);
    }
};

}  // namespace
