import fc from "fast-check";
import { expect, it } from "vitest";
import { frame, Unframer } from "./framing.ts";

it("messages come out as they went in, however the bytes are cut", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), fc.array(fc.nat(12)), (messages, cuts) => {
      const bytes = Buffer.concat(messages.map(frame));
      const unframer = new Unframer();
      const found: Uint8Array[] = [];
      let at = 0;
      for (const cut of [...cuts, bytes.length]) {
        found.push(...unframer.push(bytes.subarray(at, at + cut)));
        at += cut;
      }
      expect(found.map((message) => Buffer.from(message))).toEqual(messages.map((message) => Buffer.from(message)));
    }),
  );
});

it("refuses a compressed message", () => {
  expect(() => new Unframer().push(Uint8Array.of(1, 0, 0, 0, 0))).toThrow("compressed");
});
