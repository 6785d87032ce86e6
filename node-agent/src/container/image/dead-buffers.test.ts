import { afterEach, expect, it } from "vitest";
import { DeadBuffers } from "./dead-buffers.ts";

const usual = globalThis.gc;
afterEach(() => {
  globalThis.gc = usual;
});

it("asks for a minor collection each 8 MiB, and does without where there is none to ask", () => {
  const asked: unknown[] = [];
  globalThis.gc = ((options: unknown) => asked.push(options)) as unknown as NodeJS.GCFunction;
  const buffers = new DeadBuffers();
  for (let count = 0; count < 255; count++) buffers.passed(64 << 10);
  expect(asked).toEqual([{ type: "minor", execution: "sync" }]);
  buffers.passed(64 << 10);
  expect(asked).toHaveLength(2);
  globalThis.gc = undefined;
  buffers.passed(8 << 20);
  expect(asked).toHaveLength(2);
});
