import { runSteps } from "@starling/native/net";
import type { Finding } from "./describe-plan.ts";
import { isV6 } from "./desired.ts";
import { isBehindNat } from "./encryption/ways.ts";
import type { NetworkView } from "./state.ts";

const timeoutMs = 3_000;
/** ICMP and IPv4 headers of a packet. */
const headers = 28;
const smallPayload = 56;
/** Bytes sent by TCP and awaited back: several full packets, so that the device's segmentation takes part. */
const exchanged = 64 * 1024;

/** One other node, and what of the way there works. */
export interface PathResult {
  readonly nodeId: string;
  readonly underlayAddress: string;
  /** Why the host doesn't answer under its own address; empty when it does. Undefined: not asked, as that is IPv6. */
  readonly underlay: string | undefined;
  /** The same through the mesh's VXLAN, with a small packet and with the largest. */
  readonly small: string;
  readonly full: string;
  /** The same by TCP: empty when all that was sent came back. */
  readonly tcp: string;
  /** Which of the two hosts are behind a NAT, as far as is known. */
  readonly behindNat: readonly ("this node" | "the other")[];
}

/** What is wrong, in words that say what to do. Pure. `mtu` is that of tasks' packets in the mesh, in bytes. */
export function judgePaths(results: readonly PathResult[], mtu: number, vxlanPort: number): readonly Finding[] {
  return results.flatMap((result): readonly Finding[] => {
    const { nodeId, underlayAddress, underlay, small, full, tcp, behindNat } = result;
    const path = (detail: string): Finding[] => [{ subject: "path", detail }];
    if (small === "" && full === "" && tcp === "") return [];
    if (small === "" && full === "") {
      return path(
        `TCP to node ${nodeId} at ${underlayAddress} fails by VXLAN (${tcp}), while echo requests arrive: network cards and virtual machines are known to make wrong checksums of what VXLAN carries; on both hosts run ethtool -K DEVICE tx-checksum-ip-generic off (DEVICE: the one with the host's address), and see that its swarmd runs`,
      );
    }
    if (small === "") {
      return path(
        `packets of ${mtu} bytes to node ${nodeId} get lost, small ones arrive (${full}): the way to ${underlayAddress} carries less than this host's device says; lower the device's MTU, or create networks with --opt com.docker.network.driver.mtu=SIZE`,
      );
    }
    if (behindNat.length > 0) {
      const who = behindNat.length === 2 ? "both are" : `${behindNat.join()} is`;
      return path(
        `node ${nodeId} is not reached by VXLAN at ${underlayAddress}: ${who} behind a NAT, which the routing mesh and unencrypted networks don't cross; create networks that tasks of both share with --opt encrypted`,
      );
    }
    if (underlay === undefined) {
      return path(
        `node ${nodeId} does not answer by VXLAN at ${underlayAddress}: see that the hosts reach each other, and let UDP port ${vxlanPort} through between them, both ways`,
      );
    }
    if (underlay === "") {
      return path(
        `node ${nodeId} answers at ${underlayAddress}, but not by VXLAN: let UDP port ${vxlanPort} through between the nodes, both ways`,
      );
    }
    return path(
      `node ${nodeId} does not answer at ${underlayAddress} (${underlay}): mend the way between the hosts first`,
    );
  });
}

/** Sends packets from this host to every other node, beside the mesh and through it. Nodes echo TCP at the port of VXLAN. */
export async function checkPaths(options: {
  readonly nodeId: string;
  readonly view: NetworkView;
  readonly netns: string | undefined;
  /** MTU of the mesh in bytes. */
  readonly mtu: number;
  readonly vxlanPort: number;
}): Promise<readonly Finding[]> {
  const { nodeId, view, netns, mtu, vxlanPort } = options;
  const others = [...view.nodes.values()].filter(({ id }) => id !== nodeId);
  const own = view.nodes.get(nodeId)?.underlayAddress ?? "";
  const peers = others.filter(
    ({ meshAddress, underlayAddress }) =>
      meshAddress !== "" && underlayAddress !== "" && isV6(underlayAddress) === isV6(own),
  );
  const lost = others.filter((node) => !peers.includes(node));
  const findings: Finding[] = lost.map(({ id, underlayAddress: address }) => ({
    subject: "path",
    detail:
      address === ""
        ? `node ${id} has no address that other nodes reach: give its swarmd one with --advertise-remote-api`
        : `node ${id} is reached at ${address}, this one at ${own}: give both a --data-path-addr of one family`,
  }));
  if (peers.length === 0) return findings;
  const targets = peers.flatMap(({ underlayAddress, meshAddress }) => {
    const mesh = meshAddress.split("/")[0]!;
    return [
      ...(isV6(own) ? [] : [{ address: underlayAddress, size: smallPayload }]),
      { address: mesh, size: smallPayload },
      { address: mesh, size: mtu - headers },
    ];
  });
  const meshes = peers.map(({ meshAddress }) => meshAddress.split("/")[0]!);
  const exchange = { type: "exchange", addresses: meshes, port: vxlanPort, size: exchanged, timeoutMs } as const;
  const [[{ outcomes }], [{ outcomes: byTcp }]] = await Promise.all([
    runSteps(netns, [{ type: "ping", targets, timeoutMs }]),
    runSteps(netns, [exchange]),
  ]);
  const results = peers.map(({ id, underlayAddress }, i) => {
    const each = targets.length / peers.length;
    const [full = "", small = "", underlay] = outcomes.slice(each * i, each * i + each).reverse();
    const behindNat = [
      ...(isBehindNat(view.nodes.get(nodeId)) ? (["this node"] as const) : []),
      ...(isBehindNat(view.nodes.get(id)) ? (["the other"] as const) : []),
    ];
    return { nodeId: id, underlayAddress, underlay, small, full, tcp: byTcp[i] ?? "", behindNat };
  });
  return [...findings, ...judgePaths(results, mtu, vxlanPort)];
}
