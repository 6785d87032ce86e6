import { isHostNetwork, isIngressNetwork, needsIngressNetwork, type ServiceSpec } from "@starling/api";
import { refuse } from "@starling/api/validation";
import { SwarmError } from "@starling/base";
import { all, type ReadTx } from "@starling/store";
import { listed } from "./errors.ts";

/** Refuses a service spec that names secrets, configs or networks which are not there. */
export function checkReferences(tx: ReadTx, spec: ServiceSpec): void {
  const { container } = spec.task;
  const missing = (noun: string, names: readonly string[]) => {
    if (names.length > 0) refuse(`${noun}${names.length === 1 ? "" : "s"} not found: ${names.join(", ")}`);
  };
  missing(
    "secret",
    (container?.secrets ?? [])
      .filter(({ secretId, secretName }) => tx.secrets.get(secretId)?.spec.annotations.name !== secretName)
      .map(({ secretName }) => secretName),
  );
  missing(
    "config",
    (container?.configs ?? [])
      .filter(({ configId, configName }) => tx.configs.get(configId)?.spec.annotations.name !== configName)
      .map(({ configName }) => configName),
  );
  const targets = [...spec.task.networks, ...spec.networks].map(({ target }) => target);
  missing(
    "network",
    targets.filter((target) => tx.networks.get(target) === undefined),
  );
  for (const target of targets) {
    const network = tx.networks.get(target)!;
    if (isIngressNetwork(network)) {
      refuse(
        `Service cannot be explicitly attached to the ingress network "${network.spec.annotations.name}": publish a port instead`,
      );
    }
  }
  const host = targets.map((target) => tx.networks.get(target)!).find(isHostNetwork);
  if (host && (new Set(targets).size > 1 || needsIngressNetwork(spec))) {
    const { name } = host.spec.annotations;
    refuse(
      `network ${name} excludes other networks and the routing mesh: publish ports with mode=host, or leave it out`,
    );
  }
  if (needsIngressNetwork(spec) && !tx.networks.find(all).some(isIngressNetwork)) {
    throw new SwarmError(
      "FailedPrecondition",
      "service needs ingress network, but no ingress network is present: create one or publish in host mode",
    );
  }
}

/** Refuses the removal of an object that services still name. */
export function checkUnused(
  noun: string,
  name: string,
  services: readonly { readonly spec: Pick<ServiceSpec, "annotations"> }[],
): void {
  if (services.length === 0) return;
  const users = services.map((service) => service.spec.annotations.name);
  refuse(`${noun} '${name}' is in use by the following ${listed("service", users).replace(" ", ": ")}`);
}
