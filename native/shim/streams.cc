// Programs whose input and output travel over a client's connection while they run, and attaching to the container's
// own. What a client does not read waits in the program's pipe: no more is taken from it than the client's buffer holds.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "../base/base64.h"
#include "bounds.h"
#include "requests.h"
#include "shim.h"

namespace starling {
namespace {

constexpr size_t kBlock = 16 << 10;
constexpr size_t kStreamsMax = 128;

Result<std::pair<UniqueFd, UniqueFd>> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Error::Errno("pipe", "");
  return std::pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

void MakeNonblocking(const UniqueFd& fd) { fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK); }

}  // namespace

Result<Shim::Session> Shim::BeginSession(const json::Value& request) {
  if (!started_ || !start_error_.empty()) return Error{"exec: the container does not run", ESRCH};
  if (sessions_.size() >= kStreamsMax) return Error{"exec: too many programs at a time (128)", EAGAIN};
  STARLING_ASSIGN(process, ExecProcess(request, spec_.process));
  Session session;
  Stdio stdio;
  UniqueFd theirs[3];
  bool detached = BoolMember(request, "detached");
  if (detached && process.tty) return Error{"exec: a detached program has no terminal", EINVAL};
  if (!process.tty && !detached) {
    for (int i = 0; i < 3; i++) {
      if (i == 0 && !BoolMember(request, "stdin")) continue;
      STARLING_ASSIGN(ends, MakePipe());
      theirs[i] = std::move(i == 0 ? ends.first : ends.second);
      (i == 0 ? session.input : session.output[i - 1]) = std::move(i == 0 ? ends.second : ends.first);
    }
    stdio = {theirs[0].get(), theirs[1].get(), theirs[2].get()};
  }
  STARLING_ASSIGN(executed, ExecuteInContainer(process, container_.pidfd.get(), cgroup_, spec_.root.ids, stdio));
  session.pid = executed.pid;
  session.tty = process.tty;
  if (process.tty) {
    session.input.reset(fcntl(executed.terminal.get(), F_DUPFD_CLOEXEC, 0));
    session.output[0] = std::move(executed.terminal);
  }
  for (const UniqueFd* fd : {&session.input, &session.output[0], &session.output[1]}) {
    if (*fd) MakeNonblocking(*fd);
  }
  return session;
}

void Shim::StartSession(Client& client, int64_t id, const json::Value& request) {
  auto session = BeginSession(request);
  if (!session.ok()) return AnswerStatus(client, id, session.error());
  session->id = next_session_++;
  session->client_key = client.key;
  json::Object members;
  members.Int("exec", session->id).Int("pid", session->pid);
  sessions_.push_back(std::move(*session));
  Answer(client.key, id, members);
}

void Shim::Attach(Client& client, int64_t id) {
  Session session;
  session.id = 0;
  session.client_key = client.key;
  std::erase_if(sessions_, [&](const Session& other) { return other.id == 0 && other.client_key == client.key; });
  sessions_.push_back(std::move(session));
  json::Object members;
  members.Int("exec", 0).Int("pid", container_.pid);
  Answer(client.key, id, members);
}

Shim::Session* Shim::FindSession(const Client& client, int64_t session) {
  for (Session& other : sessions_) {
    if (other.id == session && other.client_key == client.key) return &other;
  }
  return nullptr;
}

void Shim::SessionRequest(Client& client, int64_t id, const std::string& op, const json::Value& request) {
  Session* session = FindSession(client, IntMember(request, "exec", -1));
  if (session == nullptr) return AnswerStatus(client, id, Error{"exec: no such program on this connection", ESRCH});
  bool of_container = session->id == 0;
  if (op == "streamSignal") {
    int64_t number = IntMember(request, "signal", 0);
    if (of_container) return AnswerStatus(client, id, Signal(number));
    if (number < 1 || number > 64) return AnswerStatus(client, id, Error{"signal: must be 1 to 64", EINVAL});
    kill(session->pid, static_cast<int>(number));
    return AnswerStatus(client, id, {});
  }
  if (op == "streamResize") {
    if (of_container) return AnswerStatus(client, id, Resize(request));
    if (!session->tty) return AnswerStatus(client, id, Error{"resize: the program has no terminal", ENOTTY});
    winsize size = WindowSize(request);
    bool resized = session->output[0] && ioctl(session->output[0].get(), TIOCSWINSZ, &size) == 0;
    return AnswerStatus(client, id, resized ? Status() : Status(Error::Errno("resize", "terminal", EIO)));
  }
  const json::Value* data = request.Find("data");
  auto bytes = DecodeBase64(data == nullptr ? "" : data->string);
  if (!bytes.ok()) return AnswerStatus(client, id, Error{"data: " + bytes.error().message, EINVAL});
  if (session->waiting_write) return AnswerStatus(client, id, Error{"write: the one before is under way", EBUSY});
  bool takes_input = of_container ? static_cast<bool>(InputOfContainer()) : static_cast<bool>(session->input);
  if (!takes_input) return AnswerStatus(client, id, Error{"write: standard input is closed", EPIPE});
  session->unwritten = std::move(*bytes);
  session->ends_input = BoolMember(request, "eof");
  session->waiting_write = Waiter{client.key, id};
  WriteInput(*session);
}

UniqueFd& Shim::InputOfContainer() { return spec_.process.tty ? output_[0] : input_; }

// Answers the write once all of it is in the pipe: so a client sends no more than the program takes.
void Shim::WriteInput(Session& session) {
  UniqueFd& input = session.id == 0 ? InputOfContainer() : session.input;
  Status outcome;
  while (outcome.ok() && !session.unwritten.empty()) {
    ssize_t count = input ? write(input.get(), session.unwritten.data(), session.unwritten.size()) : (errno = EPIPE, -1);
    if (count > 0) session.unwritten.erase(0, static_cast<size_t>(count));
    else if (count < 0 && errno == EAGAIN) return;
    else if (errno != EINTR) outcome = Error::Errno("write", "stdin");
  }
  if (!outcome.ok()) session.unwritten.clear();
  bool is_terminal = session.id == 0 ? spec_.process.tty : session.tty;
  if (session.ends_input && is_terminal) {
    // A terminal's input ends by its end-of-file character (^D), which the program's line discipline understands.
    (void)!write(input.get(), "\x04", 1);
  } else if (session.ends_input || !outcome.ok()) {
    input.reset();
  }
  session.ends_input = false;
  Waiter waiter = *session.waiting_write;
  session.waiting_write.reset();
  for (const Client& client : clients_) {
    if (client.key == waiter.client_key) return AnswerStatus(client, waiter.request_id, outcome);
  }
}

bool Shim::HasRoom(const Session& session) const {
  for (const Client& client : clients_) {
    if (client.key == session.client_key) return client.output.size() < kUnreadMaxBytes;
  }
  return false;
}

void Shim::SendOutput(uint64_t client_key, int64_t session, Stream stream, std::string_view data) {
  json::Object event;
  event.String("event", "output").Int("exec", session);
  event.String("stream", stream == Stream::kStdout ? "stdout" : "stderr").String("data", EncodeBase64(data));
  SendEvent(client_key, event);
}

void Shim::SendEvent(uint64_t client_key, json::Object& event) {
  for (Client& client : clients_) {
    if (client.key != client_key || client.closed) continue;
    client.output.append(event.Done()).append("\n");
    FlushClient(client);
  }
}

void Shim::ReadSession(Session& session, Stream stream, bool to_its_end) {
  UniqueFd& fd = session.output[stream == Stream::kStdout ? 0 : 1];
  char buffer[kBlock];
  while (fd && (to_its_end || HasRoom(session))) {
    ssize_t count = read(fd.get(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) {
      fd.reset();
      return;
    }
    SendOutput(session.client_key, session.id, stream, std::string_view(buffer, static_cast<size_t>(count)));
  }
}

// A program that has ended is told of when its output is read; what children of it still write is not waited for.
void Shim::EndSessions() {
  for (Session& session : sessions_) {
    if (!session.exit_code || !HasRoom(session)) continue;
    ReadSession(session, Stream::kStdout, false);
    ReadSession(session, Stream::kStderr, false);
    if (!HasRoom(session)) continue;
    json::Object event;
    event.String("event", "exit").Int("exec", session.id).Int("exitCode", *session.exit_code);
    SendEvent(session.client_key, event);
    session.done = true;
  }
  // With its client a program loses its terminal or its pipes: hang-up, end of file, broken pipe.
  std::erase_if(sessions_, [this](const Session& session) {
    if (session.done) return true;
    return std::none_of(clients_.begin(), clients_.end(),
                        [&](const Client& client) { return client.key == session.client_key && !client.closed; });
  });
}

}  // namespace starling
