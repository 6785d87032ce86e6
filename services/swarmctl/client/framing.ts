/** Pure: no clock, no I/O, no randomness. */

import { SwarmError } from "@starling/base/errors";

const headerBytes = 5;

/** One gRPC message: a zero byte (not compressed), the length as 32 bits big-endian, the bytes. */
export function frame(message: Uint8Array): Uint8Array {
  const framed = new Uint8Array(headerBytes + message.length);
  new DataView(framed.buffer).setUint32(1, message.length);
  framed.set(message, headerBytes);
  return framed;
}

/** Puts messages together again from chunks of any size. */
export class Unframer {
  #rest: Uint8Array = new Uint8Array(0);

  /** The messages that this chunk completes. Throws Internal on a compressed one, which nobody asked for. */
  push(chunk: Uint8Array): Uint8Array[] {
    let buffer = chunk;
    if (this.#rest.length > 0) {
      buffer = new Uint8Array(this.#rest.length + chunk.length);
      buffer.set(this.#rest);
      buffer.set(chunk, this.#rest.length);
    }
    const messages: Uint8Array[] = [];
    let at = 0;
    while (buffer.length - at >= headerBytes) {
      if (buffer[at] !== 0) throw new SwarmError("Internal", "the manager sent a compressed message");
      const length = new DataView(buffer.buffer, buffer.byteOffset + at).getUint32(1);
      if (buffer.length - at < headerBytes + length) break;
      messages.push(buffer.subarray(at + headerBytes, at + headerBytes + length));
      at += headerBytes + length;
    }
    this.#rest = buffer.subarray(at);
    return messages;
  }
}
