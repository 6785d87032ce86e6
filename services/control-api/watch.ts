import { StoreObject, type Watch, WatchMessage, WatchMessage_Event, type WatchRequest } from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { type Reader, SwarmError } from "@starling/base";
import type { Kind, MemoryStore, ObjectEvent, StoreEvent } from "@starling/store";
import { redactCluster, redactSecret } from "./redact.ts";
import { selectorOf, watchActions } from "./watch-selector.ts";

/** Matching events that wait for a slow client; with more it is ended with ResourceExhausted. */
const clientLagMax = 20_000;
/** Events in one message. Only a snapshot from another manager makes a commit of more: it is sent in pieces. */
const messageEventsMax = 1_000;

/**
 * docker.swarmkit.v1.Watch on a manager's own store, leader or not. Objects are as the Control API gives them out:
 * without secrets' data and the cluster's keys.
 */
export function createWatchHandlers({ store }: { readonly store: MemoryStore }): Handlers<typeof Watch> {
  return { watch: (request, { signal }) => watch(store, request, signal) };
}

async function* watch(store: MemoryStore, request: WatchRequest, signal: AbortSignal): AsyncGenerator<WatchMessage> {
  const startsAt = store.version;
  const events = open(store, request, signal);
  try {
    // Reads here may lag behind the leader's: so the client is told where it starts. Swarm leaves the version out.
    yield WatchMessage.create({ version: request.resumeFrom ?? { index: startsAt } });
    let pending: WatchMessage_Event[] = [];
    for await (const event of events) {
      if (event.kind === "commit") {
        // The version to resume from, so only with the last of a commit's events.
        yield WatchMessage.create({ events: pending, version: { index: event.version } });
        pending = [];
        continue;
      }
      if (pending.length === messageEventsMax) {
        yield WatchMessage.create({ events: pending });
        pending = [];
      }
      pending.push(toMessage(event, request.includeOldObject));
    }
  } finally {
    events.close();
  }
}

/** The events that the request asks for, and the end of each commit that has one of them. */
function open(store: MemoryStore, { entries, resumeFrom }: WatchRequest, signal: AbortSignal): Reader<StoreEvent> {
  const options = { accept: withCommits(selectorOf(entries)), signal, lagMax: clientLagMax };
  if (resumeFrom === undefined) return store.watch(options);
  const { index } = resumeFrom;
  const events = store.watchFrom(index, options);
  if (events === undefined) {
    throw new SwarmError(
      "OutOfRange",
      `resume_from: changes since version ${index} are not remembered here: read the objects again, watch without it`,
    );
  }
  return events;
}

/** Also accepts a commit after an event that was accepted: others need not wait for the client. To be asked in order. */
function withCommits(selects: (event: ObjectEvent) => boolean): (event: StoreEvent) => boolean {
  let hasEvents = false;
  return (event) => {
    if (event.kind === "commit") {
      const accepted = hasEvents;
      hasEvents = false;
      return accepted;
    }
    const accepted = selects(event);
    hasEvents ||= accepted;
    return accepted;
  };
}

function toMessage(event: ObjectEvent, includeOld: boolean): WatchMessage_Event {
  return WatchMessage_Event.create({
    action: watchActions[event.action],
    object: publicObject(event.kind, event.object),
    oldObject: includeOld && event.old ? publicObject(event.kind, event.old) : undefined,
  });
}

/** As clients may see it. */
function publicObject(kind: Kind, object: ObjectEvent["object"]): StoreObject {
  const whole = StoreObject.create({ [kind]: object });
  const { cluster, secret } = whole;
  return { ...whole, cluster: cluster && redactCluster(cluster), secret: secret && redactSecret(secret) };
}
