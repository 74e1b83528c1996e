%% One measurement with OTP's supervisor: prints its values in the order the caller knows.
-module(measure).
-behaviour(supervisor).
-export([main/1, init/1, start_process/2, process/2, born/2]).

main([Column, Mode, Count, _Threads]) ->
    ok = logger:set_primary_config(level, none),
    process_flag(trap_exit, true),
    register(measure, self()),
    persistent_term:put(births, atomics:new(1, [])),
    {module, _} = code:ensure_loaded(worker),
    Values = measure(list_to_atom(Mode), list_to_atom(Column), list_to_integer(Count)),
    [io:format("~w~n", [Value]) || Value <- Values],
    halt(0).

measure(one, Column, Count) ->
    Start = now_ns(),
    root(Column, one, Count),
    receive done -> [rate(Count, Start)] end;
measure(all, Column, Count) ->
    Root = root(Column, all, Count),
    timer:sleep(500),
    Pids = [Pid || {_, Pid, _, _} <- supervisor:which_children(Root)],
    Start = now_ns(),
    [Pid ! crash || Pid <- Pids],
    receive done -> [rate(Count, Start)] end;
measure(many, Column, Count) ->
    Before = resident(),
    Start = now_ns(),
    Root = root(Column, many, Count),
    Started = now_ns() - Start,
    timer:sleep(500),
    Memory = (resident() - Before) / Count,
    Stop = now_ns(),
    exit(Root, shutdown),
    receive {'EXIT', Root, _} -> ok end,
    [Started / 1.0e6, Memory, (now_ns() - Stop) / 1.0e6];
measure(call, Column, Count) ->
    [{_, Pid, _, _}] = supervisor:which_children(root(Column, call, Count)),
    register(worker, Pid),
    Start = now_ns(),
    by_name(Count),
    Middle = now_ns(),
    by_pid(Pid, Count),
    [(Middle - Start) / Count, (now_ns() - Middle) / Count].

by_name(0) -> ok;
by_name(Count) ->
    ok = gen_server:call(worker, ping, 5000),
    by_name(Count - 1).

by_pid(_Pid, 0) -> ok;
by_pid(Pid, Count) ->
    ok = gen_server:call(Pid, ping, infinity),
    by_pid(Pid, Count - 1).

%% The supervisor, with all its children.
root(simple, Mode, Count) ->
    {ok, Root} = supervisor:start_link(?MODULE, {simple, Mode, Count}),
    [{ok, _} = supervisor:start_child(Root, [Count]) || _ <- lists:seq(1, Count)],
    Root;
root(Column, Mode, Count) ->
    {ok, Root} = supervisor:start_link(?MODULE, {Column, Mode, Count}),
    Root.

init({simple, Mode, _Count}) ->
    Child = #{id => child, start => {?MODULE, start_process, [Mode]}},
    {ok, {#{strategy => simple_one_for_one}, [Child]}};
init({Column, Mode, Count}) ->
    Start = case Column of
        erlang -> {?MODULE, start_process, [Mode, Count]};
        gen_server -> {worker, start_link, [Mode, Count]}
    end,
    Last = case Mode of one -> 1; call -> 1; _ -> Count end,
    Children = [#{id => Id, start => Start} || Id <- lists:seq(1, Last)],
    {ok, {#{strategy => one_for_one, intensity => Count, period => 3600}, Children}}.

%% A child without a behaviour.
start_process(Mode, Count) -> {ok, spawn_link(?MODULE, process, [Mode, Count])}.

process(Mode, Count) ->
    case born(Mode, Count) of
        crash -> exit(crash);
        wait -> receive crash -> exit(crash) end
    end.

%% A child is up: what it does now. The last one that is to come up ends the measurement.
born(one, Count) ->
    case birth() of
        Number when Number =< Count -> crash;
        _ -> finish()
    end;
born(all, Count) ->
    case birth() of
        Number when Number =:= 2 * Count -> finish();
        _ -> wait
    end;
born(_Mode, _Count) -> wait.

birth() -> atomics:add_get(persistent_term:get(births), 1, 1).

finish() ->
    measure ! done,
    wait.

now_ns() -> erlang:monotonic_time(nanosecond).

rate(Count, Start) -> Count * 1.0e9 / (now_ns() - Start).

%% The resident set of this process, in bytes.
resident() ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Text]} = re:run(Status, "VmRSS:\\s+(\\d+)", [{capture, [1], list}]),
    list_to_integer(Text) * 1024.
