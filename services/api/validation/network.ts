/** Pure: no clock, no I/O, no randomness. */

import { SwarmError } from "@starling/base/errors";
import type { IPAMConfig, NetworkSpec } from "../gen/messages.js";
import { type Cidr, cidrContains, cidrOverlaps, parseAddress, parseCidr } from "../ip.ts";
import { parentNetworkFault } from "../parent-network.ts";
import { predefinedNetworkLabel } from "../predefined-network.ts";
import { validateAnnotations } from "./annotations.ts";
import { refuse, required } from "./refuse.ts";

const prefixLengthMaxV4 = 29;
const prefixLengthMaxV6 = 125;

export function validateNetworkSpec(spec: NetworkSpec | undefined): NetworkSpec {
  const network = required(spec, "network spec");
  if (network.attachable && network.ingress) refuse("ingress network cannot be attachable");
  validateAnnotations(network.annotations);
  if (predefinedNetworkLabel in network.annotations.labels) {
    throw new SwarmError(
      "PermissionDenied",
      `label ${predefinedNetworkLabel} is for internally created predefined networks and cannot be applied by users`,
    );
  }
  validateDriver(network);
  if (network.network !== undefined) {
    throw new SwarmError(
      "Unimplemented",
      "network: config-from names a network of each node's own, which swarmd doesn't keep: use --driver macvlan --opt parent=DEVICE,…",
    );
  }
  const driver = network.ipam?.driver?.name ?? "";
  if (driver !== "" && driver !== "default") {
    refuse(`ipam driver "${driver}" is unknown: use "default"`);
  }
  const subnets: Cidr[] = [];
  for (const config of network.ipam?.configs ?? []) {
    const subnet = validateIpamConfig(config);
    if (subnets.some((other) => cidrOverlaps(other, subnet))) {
      refuse(`ipam configuration: subnet ${config.subnet} overlaps another subnet of the same network`);
    }
    subnets.push(subnet);
  }
  return network;
}

function validateDriver({ driverConfig: driver, ingress }: NetworkSpec): void {
  const name = driver?.name ?? "";
  if (!["", "overlay", "macvlan", "ipvlan"].includes(name))
    refuse(`network driver "${name}" is unknown: use "overlay", "macvlan" or "ipvlan"`);
  const fault = parentNetworkFault(driver);
  if (fault !== undefined) refuse(fault);
  if (ingress && name !== "" && name !== "overlay") refuse(`the ingress network is an overlay: ${name} can't be it`);
  const encrypted = driver?.options["encrypted"];
  if (encrypted !== undefined && !["", "true", "false"].includes(encrypted)) {
    refuse(`network option encrypted "${encrypted}" is neither true nor false: write --opt encrypted, or leave it out`);
  }
}

function validateIpamConfig({ subnet, range, gateway }: IPAMConfig): Cidr {
  const net = parseCidr(subnet) ?? refuse(`ipam configuration: invalid subnet ${subnet}: write 10.1.0.0/24`);
  const longest = net.bits === 32 ? prefixLengthMaxV4 : prefixLengthMaxV6;
  if (net.prefix > longest) {
    refuse(`ipam configuration: subnet ${subnet} is too small: its prefix may be at most /${longest}`);
  }
  if (range !== "") {
    const inner = parseCidr(range) ?? refuse(`ipam configuration: invalid range ${range}: write 10.1.0.128/25`);
    if (inner.bits !== net.bits || inner.prefix < net.prefix || !cidrContains(net, inner)) {
      refuse(`ipam configuration: subnet ${subnet} does not contain range ${range}`);
    }
  }
  if (gateway !== "") {
    const address = parseAddress(gateway) ?? refuse(`ipam configuration: invalid gateway ${gateway}`);
    if (!cidrContains(net, address)) refuse(`ipam configuration: subnet ${subnet} does not contain gateway ${gateway}`);
  }
  return net;
}
