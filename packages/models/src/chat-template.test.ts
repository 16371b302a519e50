import { expect, test } from "vitest";
import { compileChatTemplate } from "./chat-template.js";

/** Lays 1.3 million characters into ns.s. */
const TEXT =
  "{% set ns = namespace(s='xxxxxxxxxx') %}{% for a in range(17) %}{% set ns.s = ns.s + ns.s %}{% endfor %}";
const LIST = "{% set l = range(90000) %}";
/** Lays a list into ns.s that holds the list before it twice, thirty deep: 31 lists in memory, 2^30 in print. */
const TWICE =
  "{% set ns = namespace(s=[1]) %}{% for a in range(30) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}";
/** Lays 32,768 objects into ns.s. */
const OBJECTS =
  "{% set ns = namespace(s=[{'a': 1}]) %}{% for a in range(15) %}{% set ns.s = ns.s + ns.s %}{% endfor %}";
const often = (body: string): string => `{% for a in range(100000) %}${body}{% endfor %}`;

// Each would take minutes, or all memory. The first has no node inside at which a clock could be read but its range.
test.each([
  ["loops without a body", often(often("")), /an end within 200 ms/],
  ["loops within loops within loops", often(often(often("x"))), /an end within 200 ms|at most/],
  ["sorts for ever", LIST + often("{% set x = l|sort(reverse=true) %}"), /an end within 200 ms/],
  ["prints a list for ever", LIST + often("{% set x = l|tojson %}"), /an end within 200 ms/],
  ["looks for what is not there", LIST + often("{% if -1 in l %}{% endif %}"), /an end within 200 ms/],
  ["maps for ever", OBJECTS + often("{% set x = ns.s|map(attribute='a') %}"), /an end within 200 ms/],
  ["selects for ever", OBJECTS + often("{% set x = ns.s|selectattr('a') %}"), /an end within 200 ms/],
  ["writes capitals for ever", TEXT + often("{% set x = ns.s|upper %}"), /an end within 200 ms/],
  ["turns a text round for ever", TEXT + often("{% set x = ns.s[::-1] %}"), /an end within 200 ms/],
  ["strips for ever", TEXT + often("{% set x = (' ' + ns.s + ' ')|trim %}"), /an end within 200 ms/],
  ["replaces by more", TEXT + "{{ ns.s|replace('x', 'yyyyyyyyyy') }}", /at most 4000000 characters/],
  ["replaces each by all", TEXT + "{{ ns.s|replace('x', ns.s) }}", /a conversation that the template takes/],
  [
    "joins a text by itself",
    TEXT + "{{ [ns.s, ns.s, ns.s, ns.s]|join(ns.s) }}",
    /at most 4000000 characters/,
  ],
  ["prints what holds itself twice", TWICE + "{{ ns.s }}", /values of at most 100000 items/],
  ["turns into JSON what holds itself twice", TWICE + "{{ ns.s|tojson }}", /values of at most 100000 items/],
  ["compares what holds itself twice", TWICE + "{{ ns.s == ns.s }}", /values of at most 100000 items/],
  ["joins what holds itself twice", TWICE + "{{ ns.s|join(', ') }}", /values of at most 100000 items/],
  [
    "builds what holds itself twice the other way round",
    `{% set a = namespace(s=1) %}${[..."bcdefghijklmnopqrstuvwxyz"].map((c) => `{% set ${c} = namespace(s=1) %}`).join("")}` +
      [..."abcdefghijklmnopqrstuvwxy"]
        .map(
          (c) =>
            `{% set ${c}.s = [${String.fromCharCode(c.charCodeAt(0) + 1)}, ${String.fromCharCode(c.charCodeAt(0) + 1)}] %}`,
        )
        .join("") +
      "{{ a|tojson }}",
    /values of at most 100000 items/,
  ],
  [
    "holds itself",
    "{% set ns = namespace(s=1) %}{% set ns.s = ns %}{{ ns|tojson }}",
    /values of at most 100000 items/,
  ],
])("a template that %s is refused within a second of the processor", (_name, template, message) => {
  const before = process.cpuUsage();
  const render = compileChatTemplate(template, {}, "test");
  expect(() => render([], { timeoutMs: 200 })).toThrow(message);
  expect(() => render([], { timeoutMs: 200 })).toThrow(expect.objectContaining({ code: "LOWRANK_FORMAT" }));
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 2000).toBeLessThan(1000); // it ran twice
});

test("a conversation of 2,000 messages with tools is rendered", () => {
  const template =
    "{% for tool in tools %}{{ tool | tojson }}{% endfor %}" +
    "{% for m in messages %}{% if loop.first or m['role'] == 'user' %}<{{ m.role }}>{{ m.content | trim }}{% else %}{{ m['content'] }}{% endif %}{% endfor %}" +
    "{{ messages | length }}{{ messages[-1]['content'] }}";
  const messages = Array.from({ length: 2000 }, (_, i) => ({
    role: i % 2 === 0 ? "user" : "assistant",
    content: ` text ${i} `,
  }));
  const tools = [{ name: "f", parameters: { properties: { a: { type: "string" } } } }];
  const text = compileChatTemplate(template, {}, "test")(messages, { tools, timeoutMs: 20_000 });
  expect(text).toMatch(/^\{"name": "f", "parameters"/);
  expect(text).toMatch(/<user>text 1998 text 1999 2000 text 1999 $/);
});
