import { existsSync, readFileSync } from "node:fs";
import type { Task } from "@starling/api";
import type { Clock, Logger } from "@starling/base";
import type { NetworkFiles } from "../../exec/network-attacher.ts";
import type { LocalTask } from "../desired.ts";
import { addressesOf, type NetworkView } from "../state.ts";
import type { NameServerSockets } from "../task-network.ts";
import { NameServer } from "./name-server.ts";
import { parseResolvConf, type ResolverConfig, renderResolvConf } from "./resolv-conf.ts";
import { Upstream } from "./upstream.ts";
import { Zone } from "./zone.ts";

/** Names in tasks here: a server for each, and the files that lead to it. */
export class TaskNames {
  readonly #log: Logger;
  readonly #upstream: Upstream;
  readonly #resolvers: ResolverConfig;
  readonly #zone: Zone;

  /** `resolvConf`: text of the host's resolver configuration; undefined: /etc/resolv.conf as it is. */
  constructor(options: {
    readonly clock: Clock;
    readonly log: Logger;
    readonly resolvConf: string | undefined;
    readonly view: NetworkView;
    readonly leaving: ReadonlySet<string>;
  }) {
    this.#log = options.log;
    this.#resolvers = parseResolvConf(options.resolvConf ?? hostResolvConf());
    this.#upstream = new Upstream(this.#resolvers.nameservers, options.clock);
    this.#zone = new Zone(options.view, options.leaving);
  }

  /** Serves names to the task at its sockets until it is closed. */
  serve(task: Task, local: LocalTask, sockets: NameServerSockets): NameServer {
    const networks = local.overlays.map((overlay) => overlay.networkId);
    return new NameServer(sockets, {
      names: {
        lookup: (name) => this.#zone.lookup(networks, name),
        reverse: (address) => this.#zone.reverse(networks, address),
      },
      upstream: this.#upstream,
      resolvers: task.spec.container?.dnsConfig?.nameservers ?? [],
      log: this.#log.with({ "task.id": task.id }),
    });
  }

  files(task: Task, { overlays, routed }: LocalTask): NetworkFiles {
    const config = task.spec.container?.dnsConfig;
    return {
      resolvConf: renderResolvConf(
        this.#resolvers,
        config === undefined ? {} : { search: config.search, options: config.options },
      ),
      addresses: overlays.length > 0 ? overlays.flatMap(addressesOf) : routed === undefined ? [] : [routed],
    };
  }
}

/** A host without resolver configuration resolves nothing but the cluster's names. */
function hostResolvConf(): string {
  return existsSync("/etc/resolv.conf") ? readFileSync("/etc/resolv.conf", "utf8") : "";
}
