// A library of linear algebra as small as can be, right or wrong as it is compiled: INT is its integer, NAME(f) a name in it.
#ifndef INT
#define INT int
#endif
#ifndef NAME
#define NAME(f) f
#endif
#ifndef LAST
#define LAST 0 // terms of each sum that are left out
#endif

#ifndef LAST_OF_GRAM
#define LAST_OF_GRAM 0 // the same in products of a matrix by its own transpose
#endif

#define DEFINE(real, dot, gemm, gemv, syrk)                                                                                     \
  real NAME(dot)(INT n, const real *x, INT dx, const real *y, INT dy) {                                                \
    real sum = 0;                                                                                                      \
    for (INT i = 0; i < n; i++) sum += x[i * dx] * y[i * dy];                                                          \
    return sum;                                                                                                        \
  }                                                                                                                    \
  void NAME(gemm)(int order, int turned_a, int turned_b, INT M, INT N, INT K, real alpha, const real *a, INT lda,      \
                  const real *b, INT ldb, real beta, real *c, INT ldc) {                                               \
    for (INT i = 0; i < M; i++)                                                                                        \
      for (INT j = 0; j < N; j++) {                                                                                    \
        real sum = 0;                                                                                                  \
        for (INT k = 0; k < K - LAST; k++)                                                                             \
          sum += a[turned_a == 112 ? k * lda + i : i * lda + k] * b[turned_b == 112 ? j * ldb + k : k * ldb + j];      \
        c[i * ldc + j] = alpha * sum + (beta == 0 ? 0 : beta * c[i * ldc + j]);                                        \
      }                                                                                                                \
  }                                                                                                                    \
  void NAME(gemv)(int order, int turned, INT M, INT N, real alpha, const real *a, INT lda, const real *x, INT dx,      \
                  real beta, real *y, INT dy) {                                                                        \
    for (INT i = 0; i < (turned == 112 ? N : M); i++) {                                                                \
      real sum = 0;                                                                                                    \
      for (INT k = 0; k < (turned == 112 ? M : N); k++) sum += a[turned == 112 ? k * lda + i : i * lda + k] * x[k * dx]; \
      y[i * dy] = alpha * sum + (beta == 0 ? 0 : beta * y[i * dy]);                                                    \
    }                                                                                                                  \
  }                                                                                                                    \
  void NAME(syrk)(int order, int triangle, int turned, INT n, INT K, real alpha, const real *a, INT lda, real beta, real *c,\
                  INT ldc) {                                                                                           \
    for (INT i = 0; i < n; i++)                                                                                        \
      for (INT j = 0; j <= i; j++) {                                                                                   \
        real sum = 0;                                                                                                  \
        for (INT k = 0; k < K - LAST_OF_GRAM; k++)                                                                     \
          sum += turned == 112 ? a[k * lda + i] * a[k * lda + j] : a[i * lda + k] * a[j * lda + k];                    \
        c[i * ldc + j] = alpha * sum + (beta == 0 ? 0 : beta * c[i * ldc + j]);                                        \
      }                                                                                                                \
  }

#ifdef EMPTY
int nothing(void) { return 0; }
#else
DEFINE(float, cblas_sdot, cblas_sgemm, cblas_sgemv, cblas_ssyrk)
DEFINE(double, cblas_ddot, cblas_dgemm, cblas_dgemv, cblas_dsyrk)
#endif
