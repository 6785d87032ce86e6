import { createSocket } from "node:dgram";
import { networkInterfaces } from "node:os";
import { SwarmError } from "@starling/base";
import { splitAddress } from "./flags.ts";

/**
 * The address under which other nodes reach this one: what the operator says, else the listening address, with a
 * wildcard host replaced by the address from which `peer` is reached, or by the only address of this host. Throws
 * InvalidArgument when that cannot be told.
 */
export async function advertisedAddress(options: {
  readonly advertise: string | undefined;
  readonly listen: string;
  readonly peer: string | undefined;
}): Promise<string> {
  const address = options.advertise ?? options.listen;
  const { host, port } = splitAddress(address)!;
  if (!/^(|0\.0\.0\.0|\[?::\]?)$/.test(host)) return address;
  const found = options.peer === undefined ? onlyAddress() : await routeTo(options.peer);
  return found.includes(":") ? `[${found}]:${port}` : `${found}:${port}`;
}

/** The source address that the kernel would use towards `peer`; connecting a UDP socket sends nothing. */
function routeTo(peer: string): Promise<string> {
  const { host, port } = splitAddress(peer)!;
  return new Promise((resolve, reject) => {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    socket.once("error", reject);
    socket.connect(port, host, () => {
      const { address } = socket.address();
      socket.close();
      resolve(address);
    });
  });
}

function onlyAddress(): string {
  const addresses = Object.entries(networkInterfaces())
    .filter(([name]) => !/^(docker|br-|veth|st)/.test(name))
    .flatMap(([, list]) => list ?? [])
    .filter((info) => !info.internal && info.family === "IPv4")
    .map((info) => info.address);
  if (addresses.length === 1) return addresses[0]!;
  const choice = addresses.length === 0 ? "this host has none" : `this host has ${addresses.join(", ")}`;
  throw new SwarmError(
    "InvalidArgument",
    `--advertise-remote-api: give the address under which other nodes reach this one (${choice})`,
  );
}
