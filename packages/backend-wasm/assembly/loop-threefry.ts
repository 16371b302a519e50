// Random bits from a key and a counter.

// @ts-ignore: decorator
@inline
function turn(x: v128, y: v128, by: i32): v128 {
  return v128.xor(v128.or(i32x4.shl(y, by), i32x4.shr_u(y, 32 - by)), x);
}

/** Word 0 of Threefry-2x32 with 20 rounds: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4. */
export function threefry(
  d: usize,
  k0: usize,
  s0: usize,
  k1: usize,
  s1: usize,
  c0: usize,
  s2: usize,
  c1: usize,
  s3: usize,
  end: usize,
): void {
  do {
    const ka = v128.load(k0);
    const kb = v128.load(k1);
    const kc = v128.xor(v128.xor(ka, kb), i32x4.splat(0x1bd11bda));
    const la = v128.load(k0 + s0);
    const lb = v128.load(k1 + s1);
    const lc = v128.xor(v128.xor(la, lb), i32x4.splat(0x1bd11bda));
    let x = i32x4.add(v128.load(c0), ka);
    let y = i32x4.add(v128.load(c1), kb);
    // two vectors at once: each is one long chain
    let u = i32x4.add(v128.load(c0 + s2), la);
    let v = i32x4.add(v128.load(c1 + s3), lb);
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 13);
    v = turn(u, v, 13);
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 15);
    v = turn(u, v, 15);
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 26);
    v = turn(u, v, 26);
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 6);
    v = turn(u, v, 6);
    x = i32x4.add(x, kb);
    u = i32x4.add(u, lb);
    y = i32x4.add(y, i32x4.add(kc, i32x4.splat(1)));
    v = i32x4.add(v, i32x4.add(lc, i32x4.splat(1)));
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 17);
    v = turn(u, v, 17);
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 29);
    v = turn(u, v, 29);
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 16);
    v = turn(u, v, 16);
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 24);
    v = turn(u, v, 24);
    x = i32x4.add(x, kc);
    u = i32x4.add(u, lc);
    y = i32x4.add(y, i32x4.add(ka, i32x4.splat(2)));
    v = i32x4.add(v, i32x4.add(la, i32x4.splat(2)));
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 13);
    v = turn(u, v, 13);
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 15);
    v = turn(u, v, 15);
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 26);
    v = turn(u, v, 26);
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 6);
    v = turn(u, v, 6);
    x = i32x4.add(x, ka);
    u = i32x4.add(u, la);
    y = i32x4.add(y, i32x4.add(kb, i32x4.splat(3)));
    v = i32x4.add(v, i32x4.add(lb, i32x4.splat(3)));
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 17);
    v = turn(u, v, 17);
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 29);
    v = turn(u, v, 29);
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 16);
    v = turn(u, v, 16);
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 24);
    v = turn(u, v, 24);
    x = i32x4.add(x, kb);
    u = i32x4.add(u, lb);
    y = i32x4.add(y, i32x4.add(kc, i32x4.splat(4)));
    v = i32x4.add(v, i32x4.add(lc, i32x4.splat(4)));
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 13);
    v = turn(u, v, 13);
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 15);
    v = turn(u, v, 15);
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 26);
    v = turn(u, v, 26);
    x = i32x4.add(x, y);
    u = i32x4.add(u, v);
    y = turn(x, y, 6);
    v = turn(u, v, 6);
    x = i32x4.add(x, kc);
    u = i32x4.add(u, lc);
    v128.store(d, x);
    v128.store(d, u, 16);
    k0 += s0 << 1;
    k1 += s1 << 1;
    c0 += s2 << 1;
    c1 += s3 << 1;
    d += 32;
  } while (d < end);
}
