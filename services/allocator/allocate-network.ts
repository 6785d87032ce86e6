/** Pure: no clock, no I/O, no randomness. */
import {
  Driver,
  IPAMConfig,
  IPAMConfig_AddressFamily,
  IPAMOptions,
  isIngressNetwork,
  type Network,
  parentNetwork,
  subnetSize6,
} from "@starling/api";
import type { Ledger, Refusal } from "./ledger.ts";
import { vniOption } from "./ledger.ts";
import {
  type Address,
  addressText,
  freeSubnet,
  overlap,
  parseAddressNumber,
  parseSubnet,
  type Subnet,
  subnetText,
} from "./subnet.ts";

/** The ingress network holds a task of every published service and every node: a /24 would soon be full. */
const ingressPrefix = 16;

/**
 * The network with its VXLAN id (of an overlay), subnets and gateways, noted in the ledger. Subnets that the user gave must not overlap
 * another network's; others come from the cluster's pools, around the addresses in `avoid` (the nodes' own).
 */
export function allocateNetwork(network: Network, ledger: Ledger, avoid: readonly Address[]): Network | Refusal {
  const configs: IPAMConfig[] = [];
  for (const config of wantedConfigs(network)) {
    const taken = [...ledger.subnets, ...configs.flatMap((made) => parseSubnet(made.subnet) ?? [])];
    const allocated =
      config.subnet === "" ? fromPool(network, config, ledger, { taken, avoid }) : asGiven(config, taken);
    if ("refused" in allocated) return { refused: `network ${network.spec.annotations.name}: ${allocated.refused}` };
    const family = allocated.bits === 32 ? IPAMConfig_AddressFamily.IPV4 : IPAMConfig_AddressFamily.IPV6;
    configs.push(withGateway({ ...config, family, subnet: subnetText(allocated) }, allocated));
  }
  const driverState = allocateDriver(network, ledger);
  if ("refused" in driverState) return driverState;
  const allocated: Network = {
    ...network,
    driverState,
    ipam: IPAMOptions.create({ driver: Driver.create({ name: "default" }), configs }),
  };
  ledger.addNetwork(allocated);
  return allocated;
}

/**
 * The configurations that the user gave, with one to be filled for a family without: IPv4 always, as tasks' MAC addresses
 * are made of it, IPv6 when it is enabled.
 */
function wantedConfigs({ spec }: Network): readonly IPAMConfig[] {
  const given = spec.ipam?.configs ?? [];
  const four = given.filter(({ subnet }) => parseSubnet(subnet)?.bits !== 128);
  const six = given.filter((config) => !four.includes(config));
  const open = (family: IPAMConfig["family"]) => [IPAMConfig.create({ family })];
  return [
    ...(four.length > 0 ? four : open(IPAMConfig_AddressFamily.IPV4)),
    ...(six.length > 0 || !spec.ipv6Enabled ? six : open(IPAMConfig_AddressFamily.IPV6)),
  ];
}

function asGiven(config: IPAMConfig, taken: readonly Subnet[]): Subnet | Refusal {
  const subnet = parseSubnet(config.subnet);
  if (subnet === undefined)
    return { refused: `subnet ${config.subnet} is not a subnet: write 10.1.0.0/24 or fd01::/64` };
  const other = taken.find((candidate) => overlap(candidate, subnet));
  if (other === undefined) return subnet;
  return { refused: `subnet ${config.subnet} overlaps ${subnetText(other)} of another network: choose another subnet` };
}

function fromPool(
  network: Network,
  { family }: IPAMConfig,
  ledger: Ledger,
  { taken, avoid }: { readonly taken: readonly Subnet[]; readonly avoid: readonly Address[] },
): Subnet | Refusal {
  const six = family === IPAMConfig_AddressFamily.IPV6;
  const pools = ledger.pools.filter(({ bits }) => (bits === 128) === six);
  const size = six ? subnetSize6 : ledger.subnetSize;
  const around = [...taken, ...avoid.map(({ bits, value }) => ({ bits, first: value, prefix: bits }))];
  const large = !six && isIngressNetwork(network) ? freeSubnet(pools, ingressPrefix, around, "down") : undefined;
  const subnet = large ?? freeSubnet(pools, size, around) ?? freeSubnet(pools, size, taken);
  return (
    subnet ?? {
      refused: `no free /${size} is left in the ${six ? "IPv6 " : ""}address pools: remove a network, give --subnet, or add a pool with swarmctl cluster update --default-addr-pool-add`,
    }
  );
}

/** Networks on the hosts' own one need no VXLAN id. */
function allocateDriver(network: Network, ledger: Ledger): Driver | Refusal {
  const options = network.spec.driverConfig?.options;
  const onParent = parentNetwork(network);
  if (onParent !== undefined) return Driver.create({ name: onParent.driver, options: { ...options } });
  const vni = takeVni(network, ledger);
  if (typeof vni !== "number") return vni;
  return Driver.create({ name: "overlay", options: { ...options, [vniOption]: String(vni) } });
}

/**
 * The first address of the subnet unless the user chose one. On overlay networks nothing answers there; Swarm's workers expect
 * the field.
 */
function withGateway(config: IPAMConfig, subnet: Subnet): IPAMConfig {
  if (config.gateway !== "" && parseAddressNumber(config.gateway) !== undefined) return config;
  return { ...config, gateway: addressText(subnet.bits, subnet.first + 1n) };
}

function takeVni(network: Network, ledger: Ledger): number | Refusal {
  const name = network.spec.annotations.name;
  const asked = network.spec.driverConfig?.options[vniOption]?.split(",")[0];
  if (asked !== undefined) {
    if (!/^\d{1,8}$/.test(asked) || Number(asked) >= 2 ** 24)
      return { refused: `network ${name}: VXLAN id ${asked} is not below 2^24` };
    if (!ledger.vnis.takeExactly(Number(asked), network.id)) {
      return { refused: `network ${name}: VXLAN id ${asked} is another network's: choose another` };
    }
    return Number(asked);
  }
  return ledger.vnis.take(network.id) ?? { refused: `network ${name}: all VXLAN ids are in use` };
}
