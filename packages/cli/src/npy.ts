/**
 * The bytes of a NumPy file of version 1.0 with a matrix of f32 in C order (NumPy Enhancement Proposal 1): magic, version,
 * length of the header, the header padded with spaces to a multiple of 64, the numbers.
 */
export function npyBytes(rows: readonly Float32Array[], columns: number): Uint8Array {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${rows.length}, ${columns}), }`;
  const length = Math.ceil((10 + text.length + 1) / 64) * 64;
  const header = new TextEncoder().encode(`${text.padEnd(length - 11)}\n`);
  const bytes = new Uint8Array(length + 4 * rows.length * columns);
  bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 255, header.length >> 8]);
  bytes.set(header, 10);
  const view = new DataView(bytes.buffer, length);
  for (const [r, row] of rows.entries()) {
    for (let c = 0; c < columns; c++) view.setFloat32(4 * (r * columns + c), row[c]!, true);
  }
  return bytes;
}
