// N-API surface: run(netnsPath | undefined, steps) → Promise of one result per step, closeSession(name), and eBPF programs by number.
// Types: native/net/addon.ts.
#include <fcntl.h>
#include <napi.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <variant>

#include "balancer.h"
#include "device_programs.h"
#include "job.h"

namespace starling::net {
namespace {

std::vector<std::string> ReadTexts(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<std::string> texts;
  for (uint32_t i = 0; i < array.Length(); i++) texts.push_back(array.Get(i).As<Napi::String>());
  return texts;
}

Step ReadStep(const Napi::Object& step) {
  const std::string type = step.Get("type").As<Napi::String>();
  if (type == "netlink") {
    const auto bytes = step.Get("requests").As<Napi::Uint8Array>();
    return NetlinkStep{step.Get("protocol").As<Napi::Number>().Int32Value(),
                       std::vector<uint8_t>(bytes.Data(), bytes.Data() + bytes.ByteLength()),
                       step.Get("session").As<Napi::String>()};
  }
  if (type == "nft") {
    return NftStep{step.Get("script").As<Napi::String>(), step.Get("json").ToBoolean().Value(),
                   step.Get("session").As<Napi::String>()};
  }
  if (type == "sysctl") {
    SysctlStep read;
    const auto settings = step.Get("settings").As<Napi::Array>();
    for (uint32_t i = 0; i < settings.Length(); i++) {
      const auto setting = settings.Get(i).As<Napi::Object>();
      read.settings.push_back({setting.Get("path").As<Napi::String>(), setting.Get("value").As<Napi::String>(),
                               setting.Get("optional").ToBoolean().Value()});
    }
    return read;
  }
  if (type == "files") return FilesStep{ReadTexts(step.Get("paths"))};
  if (type == "socket") {
    return SocketStep{step.Get("tcp").ToBoolean().Value(), step.Get("address").As<Napi::String>(),
                      static_cast<uint16_t>(step.Get("port").As<Napi::Number>().Uint32Value())};
  }
  if (type == "held") {
    return HeldStep{step.Get("pid").As<Napi::Number>().Int32Value(), step.Get("fd").As<Napi::Number>().Int32Value(),
                    step.Get("address").As<Napi::String>()};
  }
  if (type == "conntrack") {
    ConntrackStep read{ReadTexts(step.Get("subnets")), ReadTexts(step.Get("live")), {}};
    const auto protocols = step.Get("protocols").As<Napi::Array>();
    for (uint32_t i = 0; i < protocols.Length(); i++) {
      read.protocols.push_back(static_cast<uint8_t>(protocols.Get(i).As<Napi::Number>().Uint32Value()));
    }
    return read;
  }
  if (type == "ping") {
    PingStep read{{}, step.Get("timeoutMs").As<Napi::Number>().Uint32Value()};
    const auto targets = step.Get("targets").As<Napi::Array>();
    for (uint32_t i = 0; i < targets.Length(); i++) {
      const auto target = targets.Get(i).As<Napi::Object>();
      read.targets.push_back({target.Get("address").As<Napi::String>(), target.Get("size").As<Napi::Number>().Uint32Value()});
    }
    return read;
  }
  if (type == "exchange") {
    return ExchangeStep{ReadTexts(step.Get("addresses")), static_cast<uint16_t>(step.Get("port").As<Napi::Number>().Uint32Value()),
                        step.Get("size").As<Napi::Number>().Uint32Value(), step.Get("timeoutMs").As<Napi::Number>().Uint32Value()};
  }
  throw Napi::TypeError::New(step.Env(), "unknown step type " + type);
}

struct Writer {
  Napi::Env env;

  // An object with the texts under that name.
  Napi::Value Listed(const char* name, const std::vector<std::string>& texts) const {
    auto list = Napi::Array::New(env, texts.size());
    for (uint32_t i = 0; i < texts.size(); i++) list.Set(i, texts[i]);
    auto out = Napi::Object::New(env);
    out.Set(name, list);
    return out;
  }
  Napi::Value operator()(Conversation& conversation) const {
    auto out = Napi::Object::New(env);
    auto answers = Napi::Array::New(env, conversation.answers.size());
    for (uint32_t i = 0; i < conversation.answers.size(); i++) {
      auto answer = Napi::Object::New(env);
      answer.Set("error", conversation.answers[i].error);
      answer.Set("explanation", conversation.answers[i].explanation);
      answers.Set(i, answer);
    }
    out.Set("answers", answers);
    auto replies = Napi::Uint8Array::New(env, conversation.replies.size());
    if (!conversation.replies.empty()) std::memcpy(replies.Data(), conversation.replies.data(), conversation.replies.size());
    out.Set("replies", replies);
    return out;
  }
  Napi::Value operator()(NftResult& nft) const {
    auto out = Napi::Object::New(env);
    out.Set("ok", nft.ok);
    out.Set("output", nft.output);
    out.Set("error", nft.error);
    return out;
  }
  Napi::Value operator()(SysctlResult& sysctl) const { return Listed("errors", sysctl.errors); }
  Napi::Value operator()(FilesResult& files) const { return Listed("texts", files.texts); }
  Napi::Value operator()(SocketResult& socket) const {
    auto out = Napi::Object::New(env);
    out.Set("fd", socket.fd.release());
    out.Set("port", socket.port);
    return out;
  }
  Napi::Value operator()(Outcomes& found) const { return Listed("outcomes", found.outcomes); }
  Napi::Value operator()(ConntrackResult&) const { return env.Undefined(); }
};

// Lives from the call until its promise is settled on Node's thread.
struct Call {
  Napi::Promise::Deferred deferred;
  Job job;
  JobResult result;
};

void Settle(Napi::Env env, Napi::Function, Call* raw) {
  std::unique_ptr<Call> call(raw);
  const Napi::HandleScope scope(env);
  if (!call->result.error.empty()) {
    call->deferred.Reject(Napi::Error::New(env, call->result.error).Value());
    return;
  }
  auto results = Napi::Array::New(env, call->result.results.size());
  for (uint32_t i = 0; i < call->result.results.size(); i++) {
    results.Set(i, std::visit(Writer{env}, call->result.results[i]));
  }
  call->deferred.Resolve(results);
}

// In place of a namespace's path: a new one that ends with the job.
constexpr const char* kFresh = "new:";

Napi::Value Run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto call = std::make_unique<Call>(Call{Napi::Promise::Deferred::New(env), {}, {}});
  const auto promise = call->deferred.Promise();
  const auto steps = info[1].As<Napi::Array>();
  for (uint32_t i = 0; i < steps.Length(); i++) call->job.steps.push_back(ReadStep(steps.Get(i).As<Napi::Object>()));
  const std::string path = info[0].IsString() ? info[0].As<Napi::String>().Utf8Value() : "";
  if (path == kFresh) {
    call->job.fresh = true;
  } else if (info[0].IsString()) {
    call->job.netns_fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (call->job.netns_fd < 0) {
      call->deferred.Reject(Napi::Error::New(env, "open network namespace " + path + ": " + std::strerror(errno)).Value());
      return promise;
    }
  }
  auto done = Napi::ThreadSafeFunction::New(env, Napi::Function(), "starling_net", 0, 1);
  // Entering a namespace changes the thread for ever: it is thrown away after the job.
  std::thread([call = call.release(), done]() mutable {
    call->result = RunJob(call->job);
    done.BlockingCall(call, Settle);
    done.Release();
  }).detach();
  return promise;
}

// closeSession(name): in the background, as it may wait.
void CloseSession(const Napi::CallbackInfo& info) {
  const std::string session = info[0].As<Napi::String>();
  std::thread([session] {
    CloseNft(session);
    CloseConversations(session);
  }).detach();
}

// Work of eBPF programs off Node's thread; `work` runs there and gives bytes or a number.
class BpfWork : public Napi::AsyncWorker {
 public:
  using Outcome = std::variant<std::monostate, uint32_t, std::vector<uint8_t>>;
  static Napi::Promise Start(Napi::Env env, std::function<Outcome()> work) {
    auto* worker = new BpfWork(env, std::move(work));
    const Napi::Promise promise = worker->deferred_.Promise();
    worker->Queue();
    return promise;
  }

 protected:
  void Execute() override {
    try {
      outcome_ = work_();
    } catch (const std::exception& error) {
      SetError(error.what());
    }
  }
  void OnOK() override {
    if (const auto* id = std::get_if<uint32_t>(&outcome_)) {
      deferred_.Resolve(Napi::Number::New(Env(), *id));
    } else if (const auto* bytes = std::get_if<std::vector<uint8_t>>(&outcome_)) {
      auto copy = Napi::Uint8Array::New(Env(), bytes->size());
      if (!bytes->empty()) std::memcpy(copy.Data(), bytes->data(), bytes->size());
      deferred_.Resolve(copy);
    } else {
      deferred_.Resolve(Env().Undefined());
    }
  }
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  BpfWork(Napi::Env env, std::function<Outcome()> work)
      : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), work_(std::move(work)) {}

  Napi::Promise::Deferred deferred_;
  std::function<Outcome()> work_;
  Outcome outcome_;
};

using Programs = std::variant<std::shared_ptr<Balancer>, std::shared_ptr<DevicePrograms>>;
std::mutex programs_mu;
std::unordered_map<uint32_t, Programs> programs;  // GUARDED_BY(programs_mu)
uint32_t last_programs = 0;                       // GUARDED_BY(programs_mu)

uint32_t Keep(Programs loaded) {
  const std::lock_guard<std::mutex> lock(programs_mu);
  programs.emplace(++last_programs, std::move(loaded));
  return last_programs;
}

// Throws where the number is nobody's.
Programs ProgramsOf(const Napi::Value& number) {
  const std::lock_guard<std::mutex> lock(programs_mu);
  return programs.at(number.As<Napi::Number>().Uint32Value());
}

// Throws where the number is not one of theirs.
template <typename Kind>
std::shared_ptr<Kind> The(const Napi::Value& number) {
  return std::get<std::shared_ptr<Kind>>(ProgramsOf(number));
}

const FilledMaps& MapsOf(const Programs& loaded) {
  return std::visit([](const auto& kind) -> const FilledMaps& { return kind->maps(); }, loaded);
}

template <typename Work>
auto OrThrow(Napi::Env env, Work work) {
  try {
    return work();
  } catch (const std::exception& error) {
    throw Napi::Error::New(env, error.what());
  }
}

// openBalancer(object, cgroup, nodeId) → Promise of its number
Napi::Value OpenBalancer(const Napi::CallbackInfo& info) {
  const std::string object = info[0].As<Napi::String>(), cgroup = info[1].As<Napi::String>(), node = info[2].As<Napi::String>();
  return BpfWork::Start(info.Env(), [object, cgroup, node] { return BpfWork::Outcome(Keep(std::shared_ptr(Balancer::Open(object, cgroup, node)))); });
}

// removeBalancer(cgroup, nodeId) → Promise
Napi::Value RemoveBalancer(const Napi::CallbackInfo& info) {
  const std::string cgroup = info[0].As<Napi::String>(), node = info[1].As<Napi::String>();
  return BpfWork::Start(info.Env(), [cgroup, node]() -> BpfWork::Outcome {
    Balancer::Remove(cgroup, node);
    return {};
  });
}

// isBalancerAttached(number)
Napi::Value IsBalancerAttached(const Napi::CallbackInfo& info) {
  return OrThrow(info.Env(), [&] { return Napi::Boolean::New(info.Env(), The<Balancer>(info[0])->IsAttached()); });
}

// detachBalancer(number)
void DetachBalancer(const Napi::CallbackInfo& info) {
  OrThrow(info.Env(), [&] { The<Balancer>(info[0])->Detach(); });
}

// openDevicePrograms(object, programs, maps) → Promise of its number
Napi::Value OpenDevicePrograms(const Napi::CallbackInfo& info) {
  const std::string object = info[0].As<Napi::String>();
  return BpfWork::Start(info.Env(), [object, programs = ReadTexts(info[1]), maps = ReadTexts(info[2])] {
    return BpfWork::Outcome(Keep(std::make_shared<DevicePrograms>(object, programs, maps)));
  });
}

// deviceProgram(number, program) → { fd, id }
Napi::Value DeviceProgram(const Napi::CallbackInfo& info) {
  return OrThrow(info.Env(), [&] {
    const auto loaded = The<DevicePrograms>(info[0]);
    const uint32_t program = info[1].As<Napi::Number>().Uint32Value();
    auto out = Napi::Object::New(info.Env());
    out.Set("fd", loaded->ProgramFd(program));
    out.Set("id", loaded->ProgramId(program));
    return out;
  });
}

// changeMaps(number, changes) → Promise
Napi::Value ChangeMaps(const Napi::CallbackInfo& info) {
  return OrThrow(info.Env(), [&] {
    const auto bytes = info[1].As<Napi::Uint8Array>();
    std::vector<uint8_t> changes(bytes.Data(), bytes.Data() + bytes.ByteLength());
    return BpfWork::Start(info.Env(), [filled = ProgramsOf(info[0]), changes = std::move(changes)]() -> BpfWork::Outcome {
      MapsOf(filled).Change(changes);
      return {};
    });
  });
}

// readMap(number, map) → Promise of its entries' bytes
Napi::Value ReadMap(const Napi::CallbackInfo& info) {
  return OrThrow(info.Env(), [&] {
    const uint32_t map = info[1].As<Napi::Number>().Uint32Value();
    return BpfWork::Start(info.Env(), [filled = ProgramsOf(info[0]), map] { return BpfWork::Outcome(MapsOf(filled).Read(map)); });
  });
}

// closePrograms(number)
void ClosePrograms(const Napi::CallbackInfo& info) {
  const std::lock_guard<std::mutex> lock(programs_mu);
  programs.erase(info[0].As<Napi::Number>().Uint32Value());
}

// netnsCookie(fd) → BigInt
Napi::Value ReadNetnsCookie(const Napi::CallbackInfo& info) {
  return OrThrow(info.Env(), [&] { return Napi::BigInt::New(info.Env(), NetnsCookie(info[0].As<Napi::Number>().Int32Value())); });
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("closeSession", Napi::Function::New(env, CloseSession));
  exports.Set("openBalancer", Napi::Function::New(env, OpenBalancer));
  exports.Set("removeBalancer", Napi::Function::New(env, RemoveBalancer));
  exports.Set("isBalancerAttached", Napi::Function::New(env, IsBalancerAttached));
  exports.Set("detachBalancer", Napi::Function::New(env, DetachBalancer));
  exports.Set("openDevicePrograms", Napi::Function::New(env, OpenDevicePrograms));
  exports.Set("deviceProgram", Napi::Function::New(env, DeviceProgram));
  exports.Set("changeMaps", Napi::Function::New(env, ChangeMaps));
  exports.Set("readMap", Napi::Function::New(env, ReadMap));
  exports.Set("closePrograms", Napi::Function::New(env, ClosePrograms));
  exports.Set("netnsCookie", Napi::Function::New(env, ReadNetnsCookie));
  exports.Set("run", Napi::Function::New(env, Run));
  return exports;
}

}  // namespace
}  // namespace starling::net

static Napi::Object InitModule(Napi::Env env, Napi::Object exports) { return starling::net::Init(env, exports); }
NODE_API_MODULE(starling_net, InitModule)
