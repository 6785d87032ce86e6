import { describe, expect, it } from "vitest";
import { type Hearing, isLost, listen } from "./hearing.ts";
import type { TunnelPeerState } from "./plan-tunnel.ts";

const patience = { firstMs: 10_000, dueMs: 15_000 };
const start = 1_000_000;

/** What a device shows at a second of the test: handshake (in seconds from the start), bytes received and sent. */
type Shown = readonly [second: number, handshake: number | "never", received: number, sent: number];

function after(shown: readonly Shown[]): Hearing {
  let hearing: Hearing | undefined;
  for (const [second, handshake, received, sent] of shown) {
    const peer: TunnelPeerState = {
      ...{ endpoint: "192.0.2.1:7", allowedIps: [], keepalive: 25, received, sent },
      handshake: handshake === "never" ? 0 : start / 1_000 + handshake,
    };
    hearing = listen(hearing, peer, start + second * 1_000);
  }
  return hearing!;
}

describe("a peer", () => {
  it.each<[string, boolean, number, readonly Shown[]]>([
    ["is waited for at first", false, 9, [[0, "never", 0, 148]]],
    [
      "is lost when it never answers",
      true,
      10,
      [
        [0, "never", 0, 148],
        [5, "never", 0, 296],
      ],
    ],
    [
      "is there once it has answered",
      false,
      60,
      [
        [0, "never", 0, 148],
        [5, 4, 92, 296],
      ],
    ],
    ["that has a session is there at the first look", false, 60, [[0, -30, 92, 148]]],
    ["whose session is too old has never answered", true, 10, [[0, -200, 92, 148]]],
    [
      "owes keepalives no answer",
      false,
      120,
      [
        [0, 0, 92, 148],
        [25, 0, 92, 180],
        [50, 0, 92, 212],
        [75, 0, 92, 244],
      ],
    ],
    [
      "is given time to answer data",
      false,
      39,
      [
        [0, 0, 92, 148],
        [25, 0, 92, 9_000],
      ],
    ],
    [
      "is lost when it does not answer data",
      true,
      40,
      [
        [0, 0, 92, 148],
        [25, 0, 92, 9_000],
        [30, 0, 92, 12_000],
      ],
    ],
    [
      "is lost when it does not answer handshakes",
      true,
      31,
      [
        [0, 0, 92, 148],
        [5, 0, 92, 296],
        [16, 0, 92, 592],
      ],
    ],
    [
      "is there again when it answers",
      false,
      60,
      [
        [0, 0, 92, 148],
        [25, 0, 92, 9_000],
        [45, 0, 124, 9_000],
      ],
    ],
    [
      "begins anew with its device",
      false,
      50,
      [
        [0, 0, 92, 9_000],
        [30, 0, 92, 20_000],
        [45, "never", 0, 148],
      ],
    ],
  ])("%s", (_what, expected, second, shown) => {
    expect(isLost(after(shown), start + second * 1_000, patience)).toBe(expected);
  });
});
