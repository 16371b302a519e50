// Functions of f64 by the host, which has them anyway: they would be a tenth of all that is packed. Last digits may differ
// between engines.

export declare namespace HostMath {
  // @ts-ignore: decorator
  @external("Math", "exp")
  function exp(x: f64): f64;
  // @ts-ignore: decorator
  @external("Math", "expm1")
  function expm1(x: f64): f64;
  // @ts-ignore: decorator
  @external("Math", "log")
  function log(x: f64): f64;
  // @ts-ignore: decorator
  @external("Math", "log1p")
  function log1p(x: f64): f64;
  // @ts-ignore: decorator
  @external("Math", "sin")
  function sin(x: f64): f64;
  // @ts-ignore: decorator
  @external("Math", "cos")
  function cos(x: f64): f64;
  // @ts-ignore: decorator
  @external("Math", "tan")
  function tan(x: f64): f64;
  // @ts-ignore: decorator
  @external("Math", "asin")
  function asin(x: f64): f64;
  // @ts-ignore: decorator
  @external("Math", "acos")
  function acos(x: f64): f64;
  // @ts-ignore: decorator
  @external("Math", "atan")
  function atan(x: f64): f64;
  // @ts-ignore: decorator
  @external("Math", "sinh")
  function sinh(x: f64): f64;
  // @ts-ignore: decorator
  @external("Math", "cosh")
  function cosh(x: f64): f64;
  // @ts-ignore: decorator
  @external("Math", "tanh")
  function tanh(x: f64): f64;
  // @ts-ignore: decorator
  @external("Math", "atan2")
  function atan2(a: f64, b: f64): f64;
  // @ts-ignore: decorator
  @external("Math", "pow")
  function pow(a: f64, b: f64): f64;
}
