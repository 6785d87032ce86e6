import {
  Annotations,
  Control,
  CreateNetworkRequest,
  cidrContains,
  Driver,
  IPAMConfig,
  IPAMConfig_AddressFamily,
  IPAMOptions,
  ListNetworksRequest,
  ListNetworksRequest_Filters,
  NetworkSpec,
  parseAddress,
  parseCidr,
} from "@starling/api";
import { createOnce } from "../client/certain.ts";
import { sameMessage } from "../client/same-message.ts";
import type { Command } from "../command.ts";
import { parsePairs, splitCommas } from "../flags/values.ts";
import { UsageError } from "../usage-error.ts";

export interface CreateFlags {
  readonly name?: string;
  readonly driver?: string;
  readonly ipamDriver?: string;
  readonly ipamOpt?: readonly string[];
  readonly auxAddress?: readonly string[];
  readonly subnet?: readonly string[];
  readonly gateway?: readonly string[];
  readonly ipRange?: readonly string[];
  readonly opt?: readonly string[];
  readonly opts?: readonly string[];
  readonly label?: readonly string[];
  readonly attachable?: boolean;
  readonly internal?: boolean;
  readonly ingress?: boolean;
  readonly ipv6?: boolean;
  readonly scope?: string;
  readonly configOnly?: boolean;
  readonly configFrom?: string;
}

export const create: Command<CreateFlags> = {
  arguments: "[network]",
  flags: [
    { flags: "--name <name>", help: "Network name, instead of the argument", hidden: true },
    {
      flags: "-d, --driver <driver>",
      help: "Network driver: overlay, or macvlan or ipvlan on a device of each host (--opt parent=DEVICE,…)",
    },
    { flags: "--ipam-driver <driver>", help: "IPAM driver (default)" },
    { flags: "--ipam-opt <key=value>", help: "IPAM driver option", list: true },
    { flags: "--subnet <cidr>", help: "Subnet of the network", parse: splitCommas, list: true },
    { flags: "--gateway <address>", help: "Gateway of a subnet", parse: splitCommas, list: true },
    { flags: "--ip-range <cidr>", help: "Range of a subnet to take addresses from", parse: splitCommas, list: true },
    {
      flags: "--aux-address <name=address>",
      help: "Address of a subnet that no task gets",
      parse: splitCommas,
      list: true,
    },
    { flags: "-o, --opt <key=value>", help: "Driver option", list: true },
    { flags: "--opts <key=value>", help: "As --opt", parse: splitCommas, list: true, hidden: true },
    { flags: "--label <key=value>", help: "Network label", list: true },
    { flags: "--attachable", help: "Single containers may attach" },
    { flags: "--internal", help: "No way out of the network" },
    { flags: "--ingress", help: "The network of the routing mesh" },
    { flags: "--ipv6", help: "Give IPv6 addresses too" },
    { flags: "--config-only", help: "Not offered: see --driver", hidden: true },
    { flags: "--config-from <network>", help: "Not offered: see --driver", hidden: true },
    { flags: "--scope <scope>", help: "swarm, the only scope there is", hidden: true },
  ],
  async run(context, args, flags) {
    const { client } = context;
    const spec = networkSpec(args[0], flags);
    const network = await createOnce(context, {
      create: async () =>
        (await client.call(Control.methods.createNetwork, CreateNetworkRequest.create({ spec }))).network!,
      find: async () => {
        const filters = ListNetworksRequest_Filters.create({ names: [spec.annotations.name] });
        return (await client.call(Control.methods.listNetworks, ListNetworksRequest.create({ filters }))).networks[0];
      },
      isOurs: (found) => sameMessage(NetworkSpec, found.spec, spec),
    });
    context.out(`${network.id}\n`);
  },
};

/** What the flags ask for. Throws UsageError when a gateway, range or auxiliary address fits no subnet. */
export function networkSpec(argument: string | undefined, flags: CreateFlags): NetworkSpec {
  const name = flags.name ?? argument;
  if (name === undefined) throw new UsageError("network create needs a name: swarmctl network create NETWORK");
  if (flags.scope !== undefined && flags.scope !== "swarm") {
    throw new UsageError(`--scope "${flags.scope}" is not offered: networks are swarm-wide`);
  }
  if (flags.configOnly || flags.configFrom !== undefined) {
    throw new UsageError(
      "--config-only and --config-from are not offered: nodes keep no networks of their own; name the devices of all hosts in one network: --driver macvlan --subnet CIDR --gateway ADDRESS --opt parent=eth0,ens3",
    );
  }
  const options = [...(flags.opt ?? []), ...(flags.opts ?? [])];
  return NetworkSpec.create({
    annotations: Annotations.create({ name, labels: parsePairs(flags.label ?? []) }),
    driverConfig: Driver.create({ name: flags.driver ?? "overlay", options: parsePairs(options) }),
    attachable: flags.attachable ?? false,
    internal: flags.internal ?? false,
    ingress: flags.ingress ?? false,
    ipv6Enabled: flags.ipv6 ?? false,
    ipam: IPAMOptions.create({
      driver: Driver.create({ name: flags.ipamDriver ?? "default", options: parsePairs(flags.ipamOpt ?? []) }),
      configs: ipamConfigs(flags),
    }),
  });
}

/** One config per subnet, each with the gateway, range and auxiliary addresses that lie within. */
function ipamConfigs({ subnet = [], gateway = [], ipRange = [], auxAddress = [] }: CreateFlags): IPAMConfig[] {
  const reserved = new Map(Object.entries(parsePairs(auxAddress)));
  const gateways = new Set(gateway);
  const ranges = new Set(ipRange);
  const configs = subnet.map((text) => {
    const cidr = parseCidr(text);
    if (!cidr) throw new UsageError(`--subnet "${text}" is not a subnet: write it as in 10.1.0.0/24`);
    const inside = (values: Set<string>, parse: (value: string) => ReturnType<typeof parseAddress>) => {
      const fitting = [...values].find((value) => {
        const address = parse(value);
        return address !== undefined && cidrContains(cidr, address);
      });
      if (fitting !== undefined) values.delete(fitting);
      return fitting ?? "";
    };
    const auxiliary = [...reserved].filter(([, value]) => {
      const address = parseAddress(value);
      return address !== undefined && cidrContains(cidr, address);
    });
    for (const [name] of auxiliary) reserved.delete(name);
    return IPAMConfig.create({
      reserved: Object.fromEntries(auxiliary),
      family: cidr.bits === 32 ? IPAMConfig_AddressFamily.IPV4 : IPAMConfig_AddressFamily.IPV6,
      subnet: text,
      gateway: inside(gateways, parseAddress),
      range: inside(ranges, parseCidr),
    });
  });
  for (const left of gateways)
    throw new UsageError(`--gateway "${left}" lies in none of the subnets: add its --subnet`);
  for (const [name, value] of reserved) {
    throw new UsageError(`--aux-address "${name}=${value}" lies in none of the subnets: add its --subnet`);
  }
  for (const left of ranges) throw new UsageError(`--ip-range "${left}" lies in none of the subnets: add its --subnet`);
  return configs;
}
