/** Pure: no clock, no I/O, no randomness. */

import { balanceLabel, balanceNames } from "../balance.ts";
import { durationMs } from "../duration.ts";
import {
  type EndpointSpec,
  EndpointSpec_ResolutionMode,
  PortConfig_Protocol_names,
  PortConfig_PublishMode,
  type ServiceSpec,
  type UpdateConfig,
} from "../gen/messages.js";
import { isJob } from "../ingress.ts";
import { checkPlacementStrategy } from "../placement-strategy.ts";
import { preferLocalLabel } from "../prefer-local.ts";
import { isPublishAddress, publishOnLabel } from "../publish-on.ts";
import { checkRebalanceLabels, rebalanceLabels } from "../rebalance.ts";
import { updateDeadlineLabel, updateDeadlineMs } from "../update-deadline.ts";
import { validateAnnotations } from "./annotations.ts";
import { refuse, required } from "./refuse.ts";
import { validateTaskSpec } from "./task-spec.ts";

const portMax = 65535;

/** Everything about a service that can be told without looking at the cluster. */
export function validateServiceSpec(spec: ServiceSpec | undefined): ServiceSpec {
  const service = required(spec, "service spec");
  validateAnnotations(service.annotations);
  validateTaskSpec(service.task);
  validateMode(service);
  checkUpdateDeadline(service);
  checkPreferLocal(service);
  checkBalance(service);
  checkPlacementStrategy(service.annotations.labels);
  checkRebalance(service);
  checkPublishOn(service);
  if (isJob(service)) {
    if (service.update) refuse("Jobs may not have an update config");
  } else {
    if (service.update) validateUpdateConfig(service.update, "update");
    if (service.rollback) validateUpdateConfig(service.rollback, "rollback");
  }
  if (service.endpoint) validateEndpointSpec(service.endpoint);
  return service;
}

function checkUpdateDeadline(spec: ServiceSpec): void {
  const { labels } = spec.annotations;
  const text = labels[updateDeadlineLabel];
  if (text === undefined) return;
  if (isJob(spec)) refuse(`Jobs may not have an update deadline: take the label ${updateDeadlineLabel} away`);
  if (updateDeadlineMs(labels) === undefined) {
    refuse(`ServiceSpec: label ${updateDeadlineLabel} "${text}" must be a duration up to 168h, as in 90s or 5m`);
  }
}

function checkPreferLocal({ annotations }: ServiceSpec): void {
  const text = annotations.labels[preferLocalLabel] ?? "false";
  if (text !== "true" && text !== "false")
    refuse(`ServiceSpec: label ${preferLocalLabel} "${text}" must be true or false`);
}

function checkBalance({ annotations }: ServiceSpec): void {
  const text = annotations.labels[balanceLabel];
  if (text !== undefined && !balanceNames.includes(text))
    refuse(`ServiceSpec: label ${balanceLabel} "${text}" must be one of ${balanceNames.join(", ")}`);
}

function checkRebalance({ annotations: { labels } }: ServiceSpec): void {
  checkRebalanceLabels(labels);
  for (const label of [rebalanceLabels.rate, rebalanceLabels.settle]) {
    if (labels[label] !== undefined) refuse(`ServiceSpec: label ${label} is the cluster's: set it by cluster update`);
  }
}

function checkPublishOn({ annotations }: ServiceSpec): void {
  const text = annotations.labels[publishOnLabel];
  if (text === undefined) return;
  const wrong = text.split(/[ ,]+/).find((part) => !isPublishAddress(part));
  if (wrong !== undefined) {
    refuse(
      `ServiceSpec: label ${publishOnLabel}: "${wrong}" is no address or prefix, as 10.0.0.5, 10.0.0.0/24 or fd00::/64`,
    );
  }
}

function validateMode(spec: ServiceSpec): void {
  const modes = [spec.replicated, spec.global, spec.replicatedJob, spec.globalJob].filter((mode) => mode !== undefined);
  if (modes.length !== 1) {
    refuse("Unrecognized service mode: choose one of replicated, global, replicated-job and global-job");
  }
}

function validateUpdateConfig(config: UpdateConfig, field: "update" | "rollback"): void {
  if (durationMs(config.delay) < 0) refuse(`TaskSpec: ${field}-delay cannot be negative`);
  if (durationMs(config.monitor) < 0) refuse(`TaskSpec: ${field}-monitor cannot be negative`);
  const ratio = config.maxFailureRatio;
  if (!(ratio >= 0 && ratio <= 1)) {
    refuse(`TaskSpec: ${field}-maxfailureratio cannot be less than 0 or bigger than 1: it is ${ratio}`);
  }
}

function validateEndpointSpec(endpoint: EndpointSpec): void {
  const published = new Set<string>();
  for (const port of endpoint.ports) {
    if (port.targetPort < 1 || port.targetPort > portMax) {
      refuse(`EndpointSpec: target port ${port.targetPort} must be between 1 and ${portMax}`);
    }
    if (port.publishedPort > portMax) {
      refuse(`EndpointSpec: published port ${port.publishedPort} must be between 1 and ${portMax}, or 0 to get one`);
    }
    if (endpoint.mode === EndpointSpec_ResolutionMode.DNSRR && port.publishMode === PortConfig_PublishMode.INGRESS) {
      refuse(
        "EndpointSpec: port published with ingress mode can't be used with dnsrr mode: publish in host mode or use vip",
      );
    }
    if (port.publishedPort === 0) continue;
    const key = `${port.publishedPort}/${PortConfig_Protocol_names[port.protocol]}`.toLowerCase();
    if (published.has(key)) refuse(`EndpointSpec: duplicate published ports provided: ${key}`);
    published.add(key);
  }
}
