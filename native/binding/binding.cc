// N-API surface: runProgram(args) → Promise of {code, out, err}; trimMemory(). Types: native/binding/index.ts.
#include <malloc.h>
#include <napi.h>

#include <memory>
#include <thread>

#include "program.h"

namespace starling {
namespace {

// Lives from the call until its promise is settled on Node's thread.
struct Call {
  Napi::Promise::Deferred deferred;
  std::vector<std::string> args;
  ProgramResult result;
};

void Settle(Napi::Env env, Napi::Function, Call* raw) {
  const std::unique_ptr<Call> call(raw);
  const Napi::HandleScope scope(env);
  const ProgramResult& result = call->result;
  if (!result.error.empty()) {
    call->deferred.Reject(Napi::Error::New(env, result.error).Value());
    return;
  }
  auto out = Napi::Object::New(env);
  out.Set("code", result.code);
  out.Set("out", result.out);
  out.Set("err", result.err);
  call->deferred.Resolve(out);
}

Napi::Value Run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto call = std::make_unique<Call>(Call{Napi::Promise::Deferred::New(env), {}, {}});
  const auto promise = call->deferred.Promise();
  const auto args = info[0].As<Napi::Array>();
  for (uint32_t i = 0; i < args.Length(); i++) call->args.push_back(args.Get(i).As<Napi::String>());
  auto done = Napi::ThreadSafeFunction::New(env, Napi::Function(), "starling_program", 0, 1);
  // A thread of its own: the pool's few are for the log of raft.
  std::thread([call = call.release(), done]() mutable {
    call->result = RunProgram(call->args);
    done.BlockingCall(call, Settle);
    done.Release();
  }).detach();
  return promise;
}

void Trim(const Napi::CallbackInfo&) { malloc_trim(0); }

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("runProgram", Napi::Function::New(env, Run));
  exports.Set("trimMemory", Napi::Function::New(env, Trim));
  return exports;
}

}  // namespace
}  // namespace starling

static Napi::Object InitModule(Napi::Env env, Napi::Object exports) { return starling::Init(env, exports); }
NODE_API_MODULE(starling_binding, InitModule)
