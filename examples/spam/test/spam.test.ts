import { setDefaultBackend } from "@lowrank/tensor";
import { wasm } from "@lowrank/backend-wasm";
import { expect, test } from "vitest";
import { logisticHead } from "../src/baseline.js";
import { readable } from "../src/mail.js";

const mail = (headers: readonly string[], body: string): string => `${headers.join("\n")}\n\n${body}`;

test("subject and body are kept, other headers are not", () => {
  const raw = mail(
    ["From x@y.z  Thu Aug 22 2002", "Received: from gate", "Subject: Life\n insurance", "X-Spam: yes"],
    "Dear  you,\n\nbuy.",
  );
  expect(readable(raw)).toBe("Life insurance Dear you, buy.");
});

test("quoted-printable and base64 are decoded", () => {
  const coded = (encoding: string, body: string) =>
    readable(mail(["Subject: a", `Content-Transfer-Encoding: ${encoding}`], body));
  expect(coded("quoted-printable", "one=3Dtwo=\n three=20four")).toBe("a one=two three four");
  expect(coded("base64", Buffer.from("hello there").toString("base64"))).toBe("a hello there");
});

test("of HTML what a reader sees is kept, of several parts the first", () => {
  const html =
    "<html><head><style>p { color: red }</style></head><body><!-- x --><p>Buy&nbsp;now &amp; win</p></body></html>";
  expect(readable(mail(["Subject: s", "Content-Type: text/html"], html))).toBe("s Buy now & win");
  const parts = [
    "--B1",
    "Content-Type: text/plain",
    "",
    "first",
    "--B1",
    "Content-Type: text/html",
    "",
    "<b>second</b>",
    "--B1--",
  ];
  expect(
    readable(mail(["Subject: s", 'Content-Type: multipart/mixed; boundary="B1"'], parts.join("\n"))),
  ).toBe("s first");
});

test("the logistic head finds a plane between two classes", async () => {
  setDefaultBackend(await wasm({ threads: 1 }));
  const at = (i: number): [Float32Array, number] => {
    const x = Float32Array.of(Math.sin(i * 1.7), Math.cos(i * 2.3), Math.sin(i * 0.9));
    return [x, x[0]! + 2 * x[1]! > 0.3 ? 1 : 0];
  };
  const points = Array.from({ length: 200 }, (_, i) => at(i));
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const found = await logisticHead(xs.slice(0, 150), ys.slice(0, 150), xs.slice(150));
  const right = found.filter((y, i) => y === ys[150 + i]).length;
  expect(right).toBeGreaterThanOrEqual(48);
});
