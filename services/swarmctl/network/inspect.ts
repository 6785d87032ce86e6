import { Network } from "@starling/api";
import { resolveNetwork } from "../client/resolve.ts";
import { formatFields } from "../format/table.ts";
import { formatTimestamp } from "../format/time.ts";
import { inspecting } from "../inspecting.ts";
import { driverOf, subnetsOf } from "./ls.ts";

export const inspect = inspecting<Network>({
  argument: "<network...>",
  codec: Network,
  find: ({ client }, reference) => resolveNetwork(client, reference),
  pretty: (network) =>
    formatFields([
      ["ID", network.id],
      ["Name", network.spec.annotations.name],
      ["Created", formatTimestamp(network.meta.createdAt)],
      ["Driver", driverOf(network)],
      ["Subnets", subnetsOf(network).join(", ") || undefined],
      ["Gateways", network.ipam?.configs.map(({ gateway }) => gateway).join(", ") || undefined],
      ["Attachable", network.spec.attachable ? "yes" : "no"],
      ["Internal", network.spec.internal ? "yes" : "no"],
      ...Object.entries(network.driverState?.options ?? {}).map(([key, value]) => [key, value, 1] as const),
    ]),
});
