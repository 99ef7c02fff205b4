// Winograd's transforms of one dimension: of inputs, outputs and weights into the places where they are multiplied, one by
// one, and back, each also transposed, for gradients. Needs vectors.h.

namespace {

constexpr int64_t TAPS = 3;

// The polynomials are taken at 0, ±A, ±B and infinity. With 5/8 and 3/2 the result is four times as exact as with the
// usual 1 and 2 (measured), and every constant below is exact. `winograd.py` has the same two numbers.
constexpr float A = 0.625f, B = 1.5f, A2 = A * A, B2 = B * B, A3 = A2 * A, B3 = B2 * B;
constexpr double SCALE_A = 1.0 / (2.0 * A2 * (A2 - B2)), SCALE_B = 1.0 / (2.0 * B2 * (B2 - A2));
constexpr double SCALE_0 = 1.0 / (double(A2) * B2);

// 4×4 outputs of 6×6 inputs.
struct Large {
    using Number = float;  // that products are made of
    static constexpr int64_t IN = 6, OUT = 4, SIDE = 6, PLACES = SIDE * SIDE;

    static inline void into_places(const Vector d[IN], Vector v[IN]) {
        v[0] = (A2 * B2) * d[0] - (A2 + B2) * d[2] + d[4];
        const Vector even_a = d[4] - B2 * d[2], odd_a = A * (d[3] - B2 * d[1]);
        v[1] = even_a + odd_a;
        v[2] = even_a - odd_a;
        const Vector even_b = d[4] - A2 * d[2], odd_b = B * (d[3] - A2 * d[1]);
        v[3] = even_b + odd_b;
        v[4] = even_b - odd_b;
        v[5] = (A2 * B2) * d[1] - (A2 + B2) * d[3] + d[5];
    }

    static inline void into_places_transposed(const Vector v[IN], Vector d[IN]) {
        const Vector even_a = v[1] + v[2], odd_a = A * (v[1] - v[2]), even_b = v[3] + v[4], odd_b = B * (v[3] - v[4]);
        d[0] = (A2 * B2) * v[0];
        d[1] = (A2 * B2) * v[5] - B2 * odd_a - A2 * odd_b;
        d[2] = -(A2 + B2) * v[0] - B2 * even_a - A2 * even_b;
        d[3] = odd_a + odd_b - (A2 + B2) * v[5];
        d[4] = v[0] + even_a + even_b;
        d[5] = v[5];
    }

    static inline void from_places(const Vector m[IN], Vector y[OUT]) {
        const Vector even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
        y[0] = m[0] + even_a + even_b;
        y[1] = A * odd_a + B * odd_b;
        y[2] = A2 * even_a + B2 * even_b;
        y[3] = A3 * odd_a + B3 * odd_b + m[5];
    }

    static inline void from_places_transposed(const Vector y[OUT], Vector m[IN]) {
        const Vector even_a = y[0] + A2 * y[2], odd_a = A * (y[1] + A2 * y[3]);
        const Vector even_b = y[0] + B2 * y[2], odd_b = B * (y[1] + B2 * y[3]);
        m[0] = y[0];
        m[1] = even_a + odd_a;
        m[2] = even_a - odd_a;
        m[3] = even_b + odd_b;
        m[4] = even_b - odd_b;
        m[5] = y[3];
    }

    static inline void weight_into_places(const Vector g[TAPS], Vector u[IN]) {
        const Vector even_a = float(SCALE_A) * (g[0] + A2 * g[2]), odd_a = float(SCALE_A * A) * g[1];
        const Vector even_b = float(SCALE_B) * (g[0] + B2 * g[2]), odd_b = float(SCALE_B * B) * g[1];
        u[0] = float(SCALE_0) * g[0];
        u[1] = even_a + odd_a;
        u[2] = even_a - odd_a;
        u[3] = even_b + odd_b;
        u[4] = even_b - odd_b;
        u[5] = g[2];
    }

    static inline void weight_into_places_transposed(const Vector u[IN], Vector g[TAPS]) {
        const Vector even_a = float(SCALE_A) * (u[1] + u[2]), even_b = float(SCALE_B) * (u[3] + u[4]);
        g[0] = float(SCALE_0) * u[0] + even_a + even_b;
        g[1] = float(SCALE_A * A) * (u[1] - u[2]) + float(SCALE_B * B) * (u[3] - u[4]);
        g[2] = A2 * even_a + B2 * even_b + u[5];
    }
};

// All 2×2 outputs of a 2×2 map with a border of zeros: y₀ = w₁ x₀ + w₂ x₁ and y₁ = w₀ x₀ + w₁ x₁ with three products,
// w₁ (x₀ + x₁), (w₂ - w₁) x₁ and (w₀ - w₁) x₀. The border is not among the inputs.
struct Small {
    using Number = float;
    static constexpr int64_t IN = 2, OUT = 2, SIDE = 3, PLACES = SIDE * SIDE;

    static inline void into_places(const Vector d[IN], Vector v[SIDE]) {
        v[0] = d[0] + d[1];
        v[1] = d[1];
        v[2] = d[0];
    }

    static inline void into_places_transposed(const Vector v[SIDE], Vector d[IN]) {
        d[0] = v[0] + v[2];
        d[1] = v[0] + v[1];
    }

    static inline void from_places(const Vector m[SIDE], Vector y[OUT]) {
        y[0] = m[0] + m[1];
        y[1] = m[0] + m[2];
    }

    static inline void from_places_transposed(const Vector y[OUT], Vector m[SIDE]) {
        m[0] = y[0] + y[1];
        m[1] = y[0];
        m[2] = y[1];
    }

    static inline void weight_into_places(const Vector g[TAPS], Vector u[SIDE]) {
        u[0] = g[1];
        u[1] = g[2] - g[1];
        u[2] = g[0] - g[1];
    }

    static inline void weight_into_places_transposed(const Vector u[SIDE], Vector g[TAPS]) {
        g[0] = u[2];
        g[1] = u[0] - u[1] - u[2];
        g[2] = u[1];
    }
};

#ifdef HAS_PAIRS
// Both with products of bfloat16 numbers, twice as many at a time: inputs, weights and gradients are rounded once they are
// transformed, sums stay float.
struct Half : Large {
    using Number = bfloat16;
};
struct SmallHalf : Small {
    using Number = bfloat16;
};
#endif

}  // namespace
