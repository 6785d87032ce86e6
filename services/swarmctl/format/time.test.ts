import { timestampOfMs } from "@starling/api";
import { expect, it } from "vitest";
import { formatAge, formatDuration } from "./time.ts";

it.each([
  [0, "0ms"],
  [500, "500ms"],
  [1_500, "1.5s"],
  [90_000, "1m30s"],
  [3_600_000, "1h"],
  [7_776_000_000, "2160h"],
])("%d ms is written %s", (ms, text) => expect(formatDuration(ms)).toBe(text));

it.each([
  [400, "less than a second ago"],
  [1_000, "1 second ago"],
  [119_000, "1 minute ago"],
  [7_200_000, "2 hours ago"],
])("%d ms ago reads %s", (ms, text) => expect(formatAge(timestampOfMs(1_000_000), 1_000_000 + ms)).toBe(text));
