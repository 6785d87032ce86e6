/** Pure: no clock, no I/O, no randomness. */
import type { Millis } from "@starling/base";
import { isAlive, type TunnelPeerState } from "./plan-tunnel.ts";

/** How long a peer may be silent. */
export interface Patience {
  /** One that has never answered. */
  readonly firstMs: Millis;
  /** One that has, once an answer is due. */
  readonly dueMs: Millis;
}

/**
 * More than this is data, or handshakes tried again: WireGuard answers both within 10 s. Keepalives (32 bytes each) are not
 * answered.
 */
const answeredBytes = 400;

/** What looks at a device tell of whether a peer answers. Times are those of the looks. */
export interface Hearing {
  /** The first look. */
  readonly since: Millis;
  /** The last look that found something new from it; undefined: none did. */
  readonly heard: Millis | undefined;
  /** The first look since then by which it had been sent what it has to answer. */
  readonly asked: Millis | undefined;
  readonly handshake: number;
  readonly received: number;
  /** What had been sent when it was last heard. */
  readonly sent: number;
}

/** Takes in one more look; `before` undefined: the first. */
export function listen(before: Hearing | undefined, peer: TunnelPeerState, now: Millis): Hearing {
  const { handshake, received, sent } = peer;
  if (before === undefined || received < before.received || sent < before.sent) {
    const heard = isAlive(peer, Math.floor(now / 1_000)) ? now : undefined;
    return { since: now, heard, asked: undefined, handshake, received, sent };
  }
  if (handshake > before.handshake || received > before.received)
    return { since: before.since, heard: now, asked: undefined, handshake, received, sent };
  return sent - before.sent > answeredBytes ? { ...before, asked: before.asked ?? now } : before;
}

/** Whether the peer answers no more, or never did. */
export const isLost = ({ since, heard, asked }: Hearing, now: Millis, { firstMs, dueMs }: Patience): boolean =>
  heard === undefined ? now - since >= firstMs : asked !== undefined && now - asked >= dueMs;
