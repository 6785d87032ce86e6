// The parent of one container. States: created (init blocked, network can be furnished) → running → exited. It answers
// on the bundle's socket `shim.sock`, one JSON object a line:
//
//     {"v":1,"id":1,"op":"wait"}          → {"id":1,"ok":true,"exitCode":0,…}      or {"id":1,"ok":false,"error":"…"}
//
//   state            what is known: state, pid, paused, times, exit
//   start            runs the program; an error is the program's fault or the user's
//   signal           `signal`: number, to the container's init
//   kill             SIGKILL to everything inside
//   wait             answered when the container has ended
//   pause, resume    by the freezer
//   exec             `process`: members of a spec's process; `stdin`, `outputMaxBytes`, `timeoutMs`: answered at its end
//   resize           `rows`, `columns` of the terminal
//   stream           `process`, `stdin`: runs it with its streams on this connection; → `exec`, its number here, then events
//                    {"event":"output","exec":1,"stream":"stdout","data":"<base64>"} and {"event":"exit","exec":1,"exitCode":0}
//   attach           the container's own output from now on, as `exec` 0
//   streamWrite      `exec`, `data` (base64), `eof`: answered when the program can read it; one at a time
//   streamResize, streamSignal   `exec` and `rows`, `columns` or `signal`
//   top              pids inside
//   stats            cpu, memory, pids
//
// Its descriptors 250 and 251 are UDP and TCP sockets inside the container (name_sockets.h).
//
// What ended is on disk (`exit.json`) before anyone is told. After that the shim removes the cgroups and ends.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../base/json.h"
#include "../base/result.h"
#include "../cgroup/cgroup.h"
#include "../runtime/container.h"
#include "../runtime/spec.h"
#include "../sys/unique_fd.h"
#include "log_writer.h"

namespace starling {

// Single-threaded; owns the container, its cgroups, its log and the socket. The working folder is the bundle.
class Shim {
 public:
  // Makes the container up to the point where its init waits. On error nothing of it is left.
  static Result<std::unique_ptr<Shim>> Create(Spec spec, cgroup::Cgroup cgroup);

  // Serves until the container has ended and its waiters know.
  void Serve();

  pid_t container_pid() const { return container_.pid; }

 private:
  struct Client {
    UniqueFd fd;
    std::string input;
    std::string output;
    bool closed = false;
    uint64_t key = 0;
  };

  // Who gets an answer later.
  struct Waiter {
    uint64_t client_key = 0;
    int64_t request_id = 0;
  };

  struct Exec {
    Waiter waiter;
    pid_t pid = 0;
    UniqueFd output;
    std::string collected;
    size_t output_max = 0;
    // CLOCK_MONOTONIC milliseconds; 0: none.
    int64_t deadline_ms = 0;
    bool timed_out = false;
    std::optional<int> exit_code;
  };

  // A program with its streams on a client's connection; id 0: the client is attached to the container's.
  struct Session {
    int64_t id = 0;
    uint64_t client_key = 0;
    pid_t pid = 0;
    bool tty = false;
    UniqueFd input;
    // With a terminal only the first, which is also `input`.
    UniqueFd output[2];
    std::string unwritten;
    bool ends_input = false;
    std::optional<Waiter> waiting_write;
    std::optional<int> exit_code;
    bool done = false;
  };

  struct Exit {
    int code = 0;
    int signal = 0;
    bool oom_killed = false;
    std::string error;
    int64_t finished_ms = 0;
  };

  Status Listen();
  void Poll();
  void Accept();
  void ReadClient(Client& client);
  void Handle(Client& client, std::string_view line);
  void Dispatch(Client& client, int64_t id, const std::string& op, const json::Value& request);
  void Answer(uint64_t client_key, int64_t id, json::Object& members);
  void AnswerStatus(const Client& client, int64_t id, const Status& status);
  void FlushClient(Client& client);
  void FlushAll(int64_t timeout_ms);

  Status Start();
  Status Signal(int64_t number);
  Status Kill();
  // One after the other, for hosts without cgroup.kill: a container in the host's PID namespace does not end with its init.
  void KillProcesses() const;
  Status Resize(const json::Value& request);
  void BeginExec(Client& client, int64_t id, const json::Value& request);
  void ReadExec(Exec& exec);
  void EndExecs();
  Result<Session> BeginSession(const json::Value& request);
  void StartSession(Client& client, int64_t id, const json::Value& request);
  void Attach(Client& client, int64_t id);
  Session* FindSession(const Client& client, int64_t session);
  void SessionRequest(Client& client, int64_t id, const std::string& op, const json::Value& request);
  void WriteInput(Session& session);
  bool HasRoom(const Session& session) const;
  void ReadSession(Session& session, Stream stream, bool to_its_end);
  void SendOutput(uint64_t client_key, int64_t session, Stream stream, std::string_view data);
  void SendEvent(uint64_t client_key, json::Object& event);
  void EndSessions();
  UniqueFd& InputOfContainer();
  void DescribeTop(json::Object& members) const;
  void DescribeState(json::Object& members) const;
  void DescribeExit(json::Object& members) const;
  void DescribeStats(json::Object& members) const;

  void ReadOutput(Stream stream);
  void Reap();
  void Finish();

  // Constant after Create.
  Spec spec_;
  cgroup::Cgroup cgroup_;
  UniqueFd listener_;
  UniqueFd child_signals_;

  Container container_;
  LogWriter log_;
  UniqueFd output_[2];
  // Of a container whose stdin is kept open and is no terminal.
  UniqueFd input_;
  std::vector<Client> clients_;
  std::vector<Waiter> waiters_;
  std::vector<Exec> execs_;
  std::vector<Session> sessions_;
  int64_t next_session_ = 1;
  std::optional<Exit> exit_;
  bool started_ = false;
  bool paused_ = false;
  std::string start_error_;
  int64_t created_ms_ = 0;
  int64_t started_ms_ = 0;
  uint64_t next_client_key_ = 1;
};

}  // namespace starling
