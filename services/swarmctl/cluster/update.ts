import {
  addressPoolLabels,
  type ClusterSpec,
  Driver,
  type Duration,
  type ExternalCA,
  withAddressPool,
} from "@starling/api";
import type { Command, FlagDefinition } from "../command.ts";
import { type PatienceFlags, patienceFlags, withPatience } from "../flags/patience.ts";
import { clusterPlacementFlags, type PlacementFlags, withPlacement } from "../flags/placement.ts";
import { choose, parseCount, parseDuration, parseInteger, parsePairs, splitCommas } from "../flags/values.ts";
import { changeCluster } from "./change.ts";
import { externalCaFlag } from "./external-ca.ts";
import { checkAutolock, howToUnlock, mustUnlockKey } from "./unlock-key.ts";

interface UpdateFlags extends PatienceFlags, PlacementFlags {
  readonly autolock?: boolean;
  readonly certexpiry?: Duration;
  readonly certExpiry?: Duration;
  readonly defaultAddrPoolAdd?: readonly string[];
  readonly defaultAddrPoolMaskLength?: number;
  readonly externalCa?: readonly ExternalCA[];
  readonly heartbeatperiod?: Duration;
  readonly dispatcherHeartbeat?: Duration;
  readonly labelAdd?: readonly string[];
  readonly labelRm?: readonly string[];
  readonly logDriver?: string;
  readonly logOpt?: readonly string[];
  readonly rotateJoinToken?: "worker" | "manager";
  readonly rotateUnlockKey?: boolean;
  readonly snapshotInterval?: number;
  readonly maxSnapshots?: number;
  readonly logEntriesForSlowFollowers?: number;
  readonly heartbeatTick?: number;
  readonly electionTick?: number;
  readonly taskhistory?: number;
  readonly taskHistoryLimit?: number;
}

const count = (text: string) => parseCount(text);

/** Docker's flags for snapshots; for the rest the names of Swarm's fields. */
const raftFlags: readonly FlagDefinition[] = [
  { flags: "--snapshot-interval <count>", help: "Log entries between Raft snapshots (10000)", parse: count },
  { flags: "--max-snapshots <count>", help: "Older snapshots to keep", parse: count },
  {
    flags: "--log-entries-for-slow-followers <count>",
    help: "Log entries kept after a snapshot (500)",
    parse: count,
  },
  { flags: "--heartbeat-tick <ticks>", help: "100 ms ticks between heartbeats of managers (3)", parse: count },
  { flags: "--election-tick <ticks>", help: "100 ms ticks without a leader before an election (9)", parse: count },
];

export const update: Command<UpdateFlags> = {
  arguments: "[cluster]",
  flags: [
    { flags: "--autolock", help: "Managers need an unlock key to start" },
    { flags: "--no-autolock", help: "Managers start without an unlock key", hidden: true },
    { flags: "--certexpiry <duration>", help: "Validity of node certificates (2160h)", parse: parseDuration },
    { flags: "--cert-expiry <duration>", help: "As --certexpiry", parse: parseDuration, hidden: true },
    externalCaFlag,
    {
      flags: "--default-addr-pool-add <cidr>",
      help: "One more pool for networks without a subnet of their own",
      parse: splitCommas,
      list: true,
    },
    {
      flags: "--default-addr-pool-mask-length <length>",
      help: "Prefix length of subnets taken from pools (24)",
      parse: parseInteger,
    },
    { flags: "--heartbeatperiod <duration>", help: "Period of agents' heartbeats", parse: parseDuration },
    { flags: "--dispatcher-heartbeat <duration>", help: "As --heartbeatperiod", parse: parseDuration, hidden: true },
    ...patienceFlags,
    ...clusterPlacementFlags,
    { flags: "--label-add <key=value>", help: "Add or change a label of the cluster", list: true },
    { flags: "--label-rm <key>", help: "Remove a label of the cluster", list: true },
    ...raftFlags,
    { flags: "--log-driver <driver>", help: "Default log driver of tasks" },
    { flags: "--log-opt <key=value>", help: "Option of the default log driver", list: true },
    {
      flags: "--rotate-join-token <role>",
      help: "Make a new join token for worker or manager",
      parse: choose({ worker: "worker", manager: "manager" }),
    },
    { flags: "--rotate-unlock-key", help: "Make a new unlock key" },
    { flags: "--taskhistory <count>", help: "Ended tasks to keep per slot or node", parse: parseInteger },
    { flags: "--task-history-limit <count>", help: "As --taskhistory", parse: parseInteger, hidden: true },
  ],
  async run(context, [reference], flags) {
    const cluster = await changeCluster(context, reference, {
      change: (present) => {
        const spec = withFlags(present, flags);
        if (flags.rotateUnlockKey) checkAutolock(spec);
        return spec;
      },
      rotation: {
        workerJoinToken: flags.rotateJoinToken === "worker",
        managerJoinToken: flags.rotateJoinToken === "manager",
        managerUnlockKey: flags.rotateUnlockKey ?? false,
      },
    });
    context.out(`${cluster.spec.annotations.name}\n`);
    if (flags.autolock || flags.rotateUnlockKey) context.out(`\n${howToUnlock(await mustUnlockKey(context))}`);
  },
};

export function withFlags(spec: ClusterSpec, flags: UpdateFlags): ClusterSpec {
  const labels = withPools(withLabels(spec.annotations.labels, flags), flags);
  const { logDriver } = spec.taskDefaults;
  const history = flags.taskhistory ?? flags.taskHistoryLimit;
  return {
    ...spec,
    annotations: {
      ...spec.annotations,
      labels: withPlacement(withPatience(labels, flags), flags),
    },
    raft: {
      ...spec.raft,
      snapshotInterval: flags.snapshotInterval ?? spec.raft.snapshotInterval,
      keepOldSnapshots: flags.maxSnapshots ?? spec.raft.keepOldSnapshots,
      logEntriesForSlowFollowers: flags.logEntriesForSlowFollowers ?? spec.raft.logEntriesForSlowFollowers,
      heartbeatTick: flags.heartbeatTick ?? spec.raft.heartbeatTick,
      electionTick: flags.electionTick ?? spec.raft.electionTick,
    },
    orchestration:
      history === undefined ? spec.orchestration : { ...spec.orchestration, taskHistoryRetentionLimit: history },
    dispatcher: {
      ...spec.dispatcher,
      heartbeatPeriod: flags.heartbeatperiod ?? flags.dispatcherHeartbeat ?? spec.dispatcher.heartbeatPeriod,
    },
    caConfig: {
      ...spec.caConfig,
      nodeCertExpiry: flags.certexpiry ?? flags.certExpiry ?? spec.caConfig.nodeCertExpiry,
      externalCas: flags.externalCa ?? spec.caConfig.externalCas,
    },
    encryptionConfig: {
      ...spec.encryptionConfig,
      autoLockManagers: flags.autolock ?? spec.encryptionConfig.autoLockManagers,
    },
    taskDefaults: {
      ...spec.taskDefaults,
      logDriver:
        flags.logDriver === undefined && flags.logOpt === undefined
          ? logDriver
          : Driver.create({
              name: flags.logDriver ?? logDriver?.name ?? "",
              options: flags.logOpt ? parsePairs(flags.logOpt) : (logDriver?.options ?? {}),
            }),
    },
  };
}

function withLabels(labels: Readonly<Record<string, string>>, flags: UpdateFlags): Readonly<Record<string, string>> {
  const kept = Object.entries(labels).filter(([key]) => !flags.labelRm?.includes(key));
  return { ...Object.fromEntries(kept), ...parsePairs(flags.labelAdd ?? []) };
}

function withPools(labels: Readonly<Record<string, string>>, flags: UpdateFlags): Readonly<Record<string, string>> {
  const length = flags.defaultAddrPoolMaskLength;
  const withLength = length === undefined ? labels : { ...labels, [addressPoolLabels.maskLength]: String(length) };
  return (flags.defaultAddrPoolAdd ?? []).reduce(withAddressPool, withLength);
}
