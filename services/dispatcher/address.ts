/** Pure: no clock, no I/O, no randomness. */

/** The host of a caller's `host:port`, without brackets and the IPv4-in-IPv6 prefix; "" for a local socket. */
export function callerHost(remoteAddress: string): string {
  const colon = remoteAddress.lastIndexOf(":");
  if (colon < 0) return "";
  return remoteAddress
    .slice(0, colon)
    .replace(/^\[(.*)\]$/, "$1")
    .replace(/^::ffff:(?=\d+\.)/i, "");
}
