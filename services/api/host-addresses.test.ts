import { expect, it } from "vitest";
import { formatHostAddresses, parseHostAddresses } from "./host-addresses.ts";

it("a host's addresses survive the label, in an order of their own and each once", () => {
  const label = formatHostAddresses(["fd77::1", "10.0.0.5", "fd77::1"]);
  expect(label).toBe("10.0.0.5 fd77::1");
  expect(formatHostAddresses(["10.0.0.5", "fd77::1"])).toBe(label);
  expect(parseHostAddresses(label)).toEqual(["10.0.0.5", "fd77::1"]);
});

it("what is no address, or too much, is left out of the label", () => {
  expect(parseHostAddresses("")).toEqual([]);
  expect(parseHostAddresses("10.0.0.5 ; FD00::0001 300.1.1.1")).toEqual(["10.0.0.5", "fd00::1"]);
  expect(parseHostAddresses(Array.from({ length: 100 }, (_, i) => `10.0.0.${i}`).join(" "))).toHaveLength(64);
});
