import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatJoinToken, parseJoinToken } from "./join-token.ts";

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

describe("join tokens", () => {
  it("have fixed widths, padded with zeros", () => {
    const token = formatJoinToken({ rootDigest: new Uint8Array(32), secret: Uint8Array.of(...Array(15).fill(0), 35) });
    expect(token).toBe(`SWMTKN-1-${"0".repeat(50)}-${"0".repeat(24)}z`);
  });

  it("read back as what they were made of", () => {
    fc.assert(
      fc.property(bytes(32), bytes(16), (rootDigest, secret) => {
        const token = formatJoinToken({ rootDigest, secret });
        expect(token).toMatch(/^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
        expect(parseJoinToken(token)).toEqual({ rootDigest, secret, fips: false });
      }),
    );
  });

  it("of a FIPS cluster carry the mark", () => {
    expect(parseJoinToken(`SWMTKN-2-1-${"0".repeat(50)}-${"0".repeat(25)}`).fips).toBe(true);
  });

  it.each([
    ["", "nothing"],
    ["SWMTKN-1-abc-def", "short fields"],
    [`SWMTKN-3-${"0".repeat(50)}-${"0".repeat(25)}`, "a version not known"],
    [`SWMTKN-1-${"Z".repeat(50)}-${"0".repeat(25)}`, "capitals"],
    [`SWMTKN-1-${"z".repeat(50)}-${"0".repeat(25)}`, "a digest beyond 256 bits"],
    [`SWMTKN-1-${"0".repeat(50)}-${"_".repeat(25)}`, "foreign characters"],
  ])("refuse %j: %s", (token) => {
    expect(() => parseJoinToken(token)).toThrow(/invalid join token/);
  });
});
