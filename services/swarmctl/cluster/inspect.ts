import { addressPools, Cluster, durationMs, poolSubnetSize } from "@starling/api";
import { formatFields } from "../format/table.ts";
import { formatDuration } from "../format/time.ts";
import { inspecting } from "../inspecting.ts";
import { findCluster } from "./find.ts";

const command = inspecting<Cluster>({
  argument: "[cluster]",
  codec: Cluster,
  find: ({ client }, reference) => findCluster(client, reference || undefined),
  pretty: (cluster) => {
    const { id, spec, rootCa, vxlanUdpPort } = cluster;
    return formatFields([
      ["ID", id],
      ["Name", spec.annotations.name],
      ["Orchestration", ""],
      ["Task history", spec.orchestration.taskHistoryRetentionLimit, 1],
      ["Dispatcher", ""],
      ["Heartbeat", spec.dispatcher.heartbeatPeriod && formatDuration(durationMs(spec.dispatcher.heartbeatPeriod)), 1],
      ["CA", ""],
      ["Cert expiry", spec.caConfig.nodeCertExpiry && formatDuration(durationMs(spec.caConfig.nodeCertExpiry)), 1],
      ["Root CA digest", rootCa.caCertHash, 1],
      ["Join tokens", ""],
      ["Worker", rootCa.joinTokens.worker, 1],
      ["Manager", rootCa.joinTokens.manager, 1],
      ["Address pools", `${addressPools(cluster).join(", ")}, subnets of /${poolSubnetSize(cluster)}`],
      ["VXLAN port", vxlanUdpPort],
    ]);
  },
});

/** Without an argument: the only cluster. */
export const inspect: typeof command = {
  ...command,
  run: (context, args, flags) => command.run(context, args.length > 0 ? args : [""], flags),
};
