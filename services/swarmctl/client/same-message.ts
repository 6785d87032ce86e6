/** Pure: no clock, no I/O, no randomness. */
import { type MessageCodec, sameValue } from "@starling/api";

/** Whether two messages say the same, however they were made: one of them may have gone over the wire. */
export function sameMessage<T>(codec: MessageCodec<T>, a: T, b: T): boolean {
  const plain = (message: T) => codec.decode(codec.encode(message));
  return sameValue(plain(a), plain(b));
}
