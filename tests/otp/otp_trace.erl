%% Reference runner: executes a scenario against the real OTP supervisor and
%% writes a trace of everything that happened, one JSON object per line.
%% Usage (see README.md):  otp_trace:main(OutDir, HowManyAtOnce, [Scenario1, Scenario2, ...])
-module(otp_trace).
-export([main/3, log/2]).
-export([init/1, start_node/3, start_node/4, worker_init/4]).

%%--------------------------------------------------------------------------
%% Entry
%%--------------------------------------------------------------------------
main(Out, AtOnce, Files) ->
    [logger:remove_handler(H) || H <- logger:get_handler_ids()],
    ok = logger:add_handler(reports, ?MODULE, #{level => error}),
    run_files(Out, AtOnce, Files, 0).

%% Scenarios share nothing; as many as may run at once do.
run_files(_, _, [], 0) -> ok;
run_files(Out, AtOnce, [F | Files], Running) when Running < AtOnce ->
    spawn_monitor(fun() -> run_file(Out, F) end),
    run_files(Out, AtOnce, Files, Running + 1);
run_files(Out, AtOnce, Files, Running) ->
    receive
        {'DOWN', _, process, _, normal} -> run_files(Out, AtOnce, Files, Running - 1);
        {'DOWN', _, process, _, Why} -> exit(Why)
    end.

run_file(Out, File) ->
    {ok, Bin} = file:read_file(File),
    Lines = [json_dec(L) || L <- binary:split(Bin, <<"\n">>, [global]), L =/= <<>>],
    [Header | Ops] = Lines,
    Self = self(),
    {Pid, Mon} = spawn_monitor(fun() -> Self ! {trace, self(), run(Header, Ops)} end),
    Trace = receive
                {trace, Pid, T} -> erlang:demonitor(Mon, [flush]), T;
                {'DOWN', Mon, process, Pid, Why} -> exit({scenario_failed, File, Why})
            after 120000 -> exit({scenario_hung, File})
            end,
    Name = filename:basename(File, ".jsonl"),
    Path = filename:join(Out, Name ++ ".jsonl"),
    ok = file:write_file(Path, [[json_enc(E), $\n] || E <- Trace]).

run(Header, Ops) ->
    Tab = ets:new(scenario, [public, set]),
    Col = spawn_link(fun() -> collector(#{live => #{}, pids => #{}, events => [], n => 0}) end),
    Ctx = #{tab => Tab, col => Col, main => self()},
    Root = maps:get(<<"root">>, Header),
    Owner = spawn_link(fun() -> owner(Ctx, Root) end),
    ets:insert(Tab, {owner, Owner}),
    receive {root_started, Owner} -> ok end,
    settle(Ctx),
    Out0 = take(Ctx),
    Out1 = run_ops(Ops, 1, Ctx, [Out0]),
    lists:append(lists:reverse(finish(Ctx, Out1))).

finish(Ctx, Acc) ->
    Sups = live(Ctx, supervisor),
    Final = [[[{ev, which}, {sup, P} | tl(which(Ctx, P))],
              [{ev, count}, {sup, P} | tl(count(Ctx, P))]] || {P, _} <- lists:sort(Sups)],
    End = [[{ev, op}, {i, 0}, {op, <<"end">>}] | lists:append(Final)],
    stop_root(Ctx),
    settle(Ctx),
    Stop = take(Ctx),
    Leaks = [[{ev, leaked}, {path, P}] || {P, _} <- lists:sort(live(Ctx, any))],
    [Leaks, Stop, End | Acc].

%% The owner is the parent of the root supervisor.
owner(Ctx, Root) ->
    process_flag(trap_exit, true),
    put(ctx, Ctx),
    R = start_node(Ctx, <<"root">>, Root),
    maps:get(main, Ctx) ! {root_started, self()},
    case R of
        {ok, Pid} -> owner_loop(Pid);
        _ -> owner_loop(undefined)
    end.

owner_loop(Pid) ->
    receive
        {stop, From} when is_pid(Pid) ->
            exit(Pid, shutdown), From ! {stopping, self()}, owner_loop(Pid);
        {stop, From} -> From ! {stopping, self()}, owner_loop(Pid);
        _ -> owner_loop(Pid)
    end.

stop_root(Ctx) ->
    [{_, Owner}] = ets:lookup(maps:get(tab, Ctx), owner),
    Owner ! {stop, self()},
    receive {stopping, Owner} -> ok end,
    case pid_of(Ctx, <<"root">>) of
        undefined -> ok;
        Pid ->
            M = monitor(process, Pid),
            receive {'DOWN', M, process, Pid, _} -> ok end
    end.

%%--------------------------------------------------------------------------
%% Starting nodes (runs inside the supervisor process, as OTP prescribes)
%%--------------------------------------------------------------------------
start_node(Ctx, Path, Spec, Tag) ->
    start_node(Ctx, <<Path/binary, "#", Tag/binary>>, Spec).

start_node(Ctx, Path, Spec) ->
    N = ets:update_counter(maps:get(tab, Ctx), {n, Path}, 1, {{n, Path}, 0}),
    Outs = maps:get(<<"start">>, Spec, [<<"ok">>]),
    Outcome = lists:nth(min(N, length(Outs)), Outs),
    start_outcome(Outcome, Ctx, Path, N, Spec).

start_outcome(<<"ok">>, Ctx, Path, N, Spec) ->
    {Kind, R} =
        case maps:get(<<"type">>, Spec, <<"worker">>) of
            <<"worker">> ->
                {worker, proc_lib:start_link(?MODULE, worker_init, [self(), Ctx, Path, Spec])};
            <<"supervisor">> ->
                {supervisor, supervisor:start_link(?MODULE, {Ctx, Path, Spec})}
        end,
    case R of
        {ok, Pid} -> record(Ctx, {start, Path, N, <<"ok">>, Kind, Pid}), {ok, Pid};
        {error, E} -> record(Ctx, {start, Path, N, <<"error">>, Kind, undefined}), {error, E}
    end;
start_outcome(<<"ignore">>, Ctx, Path, N, _Spec) ->
    record(Ctx, {start, Path, N, <<"ignore">>, worker, undefined}),
    ignore;
start_outcome(<<"error">>, Ctx, Path, N, _Spec) ->
    record(Ctx, {start, Path, N, <<"error">>, worker, undefined}),
    fire_armed(Ctx, Path),
    {error, start_failed};
start_outcome(<<"crash">>, Ctx, Path, N, _Spec) ->
    record(Ctx, {start, Path, N, <<"error">>, worker, undefined}),
    fire_armed(Ctx, Path),
    erlang:error(start_crashed).

%% supervisor callback
init({Ctx, Path, Spec}) ->
    put(traced_supervisor, {Ctx, Path}),
    Kids = maps:get(<<"children">>, Spec, []),
    Flags = sup_flags(Spec),
    Specs = [child_spec(Ctx, Path, K) || K <- Kids],
    case Flags of
        #{strategy := simple_one_for_one} ->     % instances are called SUP#TAG
            {ok, {Flags, [S#{start := {?MODULE, start_node, [Ctx, Path, K]}} || {S, K} <- lists:zip(Specs, Kids)]}};
        _ -> {ok, {Flags, Specs}}
    end.

sup_flags(Spec) ->
    opt([{strategy, <<"strategy">>, fun bin_to_atom/1},
         {intensity, <<"intensity">>, fun id/1},
         {period, <<"period">>, fun id/1},
         {auto_shutdown, <<"auto_shutdown">>, fun bin_to_atom/1}], Spec, #{}).

child_spec(Ctx, SupPath, Spec) ->
    Id = maps:get(<<"id">>, Spec),
    Path = <<SupPath/binary, "/", Id/binary>>,
    opt([{restart, <<"restart">>, fun bin_to_atom/1},
         {significant, <<"significant">>, fun id/1},
         {type, <<"type">>, fun bin_to_atom/1},
         {shutdown, <<"shutdown">>, fun shutdown/1}], Spec,
        #{id => Id, start => {?MODULE, start_node, [Ctx, Path, Spec]}}).

opt([{Key, JKey, F} | T], Spec, Acc) ->
    case maps:find(JKey, Spec) of
        {ok, V} -> opt(T, Spec, Acc#{Key => F(V)});
        error -> opt(T, Spec, Acc)
    end;
opt([], _, Acc) -> Acc.

id(X) -> X.
bin_to_atom(B) -> binary_to_atom(B, utf8).
shutdown(N) when is_integer(N) -> N;
shutdown(B) -> bin_to_atom(B).

%%--------------------------------------------------------------------------
%% Supervisor reports (a logger handler; it runs in the supervisor process)
%%--------------------------------------------------------------------------
log(#{msg := {report, #{label := {supervisor, Context}, report := R}}}, _) ->
    case get(traced_supervisor) of
        {Ctx, Path} ->
            Off = proplists:get_value(offender, R),
            Nb = case proplists:get_value(nb_children, Off) of undefined -> []; K -> [{nb, K}] end,
            record(Ctx, {report, [{ev, report}, {sup, Path}, {context, Context},
                                  {child, proplists:get_value(id, Off)},
                                  {reason, report_class(proplists:get_value(reason, R))} | Nb]});
        undefined -> ok
    end;
log(_, _) -> ok.

report_class(reached_max_restart_intensity = A) -> A;
report_class(R) -> class(R).

%%--------------------------------------------------------------------------
%% Worker process
%%--------------------------------------------------------------------------
worker_init(Parent, _Ctx, _Path, Spec) ->
    process_flag(trap_exit, true),
    proc_lib:init_ack(Parent, {ok, self()}),
    worker(Parent, maps:get(<<"on_shutdown">>, Spec, <<"comply">>)).

worker(Parent, On) ->
    receive
        {die, Reason} -> exit(Reason);
        {'EXIT', Parent, shutdown} ->
            case On of
                <<"comply">> -> exit(shutdown);
                <<"hang">> -> worker(Parent, On);
                <<"slow">> -> timer:sleep(15), exit(shutdown);
                <<"exit:", R/binary>> -> exit(reason(R))
            end;
        {'EXIT', Parent, Reason} -> exit(Reason);
        _ -> worker(Parent, On)
    end.

reason(<<"shutdown_term">>) -> {shutdown, because};
reason(<<"error">>) -> boom;
reason(B) -> bin_to_atom(B).

%%--------------------------------------------------------------------------
%% Collector: a single process that orders all events
%%
%% Deaths are taken from the VM's own exit trace, whose strictly monotonic time
%% stamps order them among each other and against the starts; the order in
%% which messages reach the collector does not matter.
%%--------------------------------------------------------------------------
record(Ctx, Ev) -> ask(Ctx, {record, Ev, now_ts()}).
take(Ctx) -> ask(Ctx, take).
live(Ctx, Kind) -> ask(Ctx, {live, Kind}).
pid_of(Ctx, Path) -> ask(Ctx, {pid, Path}).
path_of(Ctx, Pid) -> ask(Ctx, {path, Pid}).

now_ts() -> {erlang:monotonic_time(), erlang:unique_integer([monotonic])}.

ask(#{col := Col}, Req) ->
    M = monitor(process, Col),
    Col ! {Req, self(), M},
    receive
        {reply, M, R} -> erlang:demonitor(M, [flush]), R;
        {'DOWN', M, _, _, Why} -> exit({collector_gone, Why})
    end.

collector(S0) ->
    receive
        {trace_ts, Pid, exit, Reason, Ts} -> collector(down(Pid, Reason, Ts, S0));
        T when element(1, T) =:= trace_ts -> collector(S0);
        {Req, From, Ref} ->
            S1 = drain(S0),
            {R, S2} = collect(Req, S1),
            From ! {reply, Ref, R},
            collector(S2)
    end.

%% Every death that has already happened must be in the books.
drain(S) ->
    lists:foldl(fun(P, Acc) ->
                        case is_process_alive(P) of
                            true -> Acc;
                            false -> receive {trace_ts, P, exit, R, Ts} -> down(P, R, Ts, Acc) end
                        end
                end, S, maps:keys(maps:get(live, S))).

down(Pid, Reason, Ts, #{live := L} = S) ->
    {Path, N, _} = maps:get(Pid, L),
    event(Ts, [{ev, exit}, {path, Path}, {n, N}, {reason, class(Reason)}],
          S#{live := maps:remove(Pid, L)}).

event(Ts, E, #{events := Es, n := N} = S) -> S#{events := [{Ts, E} | Es], n := N + 1}.

collect({record, {report, E}, Ts}, S) -> {ok, event(Ts, E, S)};
collect({record, {start, Path, N, Res, Kind, Pid}, Ts}, S0) ->
    S = event(Ts, [{ev, start}, {path, Path}, {n, N}, {result, Res}], S0),
    case Pid of
        undefined -> {ok, S};
        _ ->
            erlang:trace(Pid, true, [procs, strict_monotonic_timestamp]),
            #{live := L, pids := Ps} = S,
            {ok, S#{live := L#{Pid => {Path, N, Kind}}, pids := Ps#{Pid => Path}}}
    end;
collect(take, #{events := Es} = S) -> {[E || {_, E} <- lists:sort(Es)], S#{events := []}};
collect(count, #{n := N, live := L} = S) -> {{N, lists:sort(maps:keys(L))}, S};
collect({live, Kind}, #{live := L} = S) ->
    {[{P, Pid} || {Pid, {P, _, K}} <- maps:to_list(L), Kind =:= any orelse K =:= Kind], S};
collect({path, Pid}, #{pids := Ps} = S) -> {maps:get(Pid, Ps, undefined), S};
collect({pid, Path}, #{live := L} = S) ->
    case [{N, Pid} || {Pid, {P, N, _}} <- maps:to_list(L), P =:= Path] of
        [] -> {undefined, S};
        Found -> {element(2, lists:max(Found)), S}
    end.

class(normal) -> <<"normal">>;
class(shutdown) -> <<"shutdown">>;
class({shutdown, _}) -> <<"shutdown_term">>;
class(killed) -> <<"killed">>;
class(_) -> <<"error">>.

%% Wait until nothing moves any more: every live supervisor has answered a
%% call, has an empty mailbox, and three snapshots in a row are the same.
settle(Ctx) -> settle(Ctx, undefined, 0).
settle(_, _, 3) -> ok;
settle(Ctx, Prev, K) ->
    Sups = live(Ctx, supervisor),
    [catch supervisor:count_children(P) || {_, P} <- Sups],
    Quiet = lists:all(fun({_, P}) ->
                              case process_info(P, message_queue_len) of
                                  {_, 0} -> true;
                                  _ -> false
                              end
                      end, Sups),
    timer:sleep(1),
    Snap = ask(Ctx, count),
    case Quiet andalso Snap =:= Prev of
        true -> settle(Ctx, Snap, K + 1);
        false -> settle(Ctx, Snap, 0)
    end.

%%--------------------------------------------------------------------------
%% Operations
%%--------------------------------------------------------------------------
run_ops([], _, _, Acc) -> Acc;
run_ops([Op | T], I, Ctx, Acc) ->
    R = do(maps:get(<<"op">>, Op), Op, Ctx),
    settle(Ctx),
    Events = take(Ctx),
    Armed = flush_armed(Ctx),
    Line = [{ev, op}, {i, I}, {op, maps:get(<<"op">>, Op)}],
    Res = case R of none -> []; _ -> [R] end,
    run_ops(T, I + 1, Ctx, [[Line | Events] ++ Res ++ Armed | Acc]).

do(<<"exit">>, Op, Ctx) -> to_child(Op, Ctx, fun(P) -> P ! {die, reason(maps:get(<<"reason">>, Op))} end);
do(<<"kill">>, Op, Ctx) -> to_child(Op, Ctx, fun(P) -> exit(P, kill) end);
do(<<"advance">>, Op, _) -> timer:sleep(maps:get(<<"ms">>, Op)), none;
do(<<"stop">>, _, Ctx) -> stop_root(Ctx), none;
do(<<"multi">>, Op, Ctx) ->
    case pid_of(Ctx, maps:get(<<"sup">>, Op)) of
        undefined -> result(<<"noproc">>);
        Sup ->
            ok = sys:suspend(Sup),
            [do(maps:get(<<"op">>, A), A, Ctx) || A <- maps:get(<<"acts">>, Op)],
            ok = sys:resume(Sup),
            none
    end;
do(<<"arm">>, Op, #{tab := Tab}) ->
    ets:insert(Tab, {{arm, maps:get(<<"child">>, Op)}, maps:get(<<"do">>, Op)}),
    none;
do(Api, Op, Ctx) ->
    case pid_of(Ctx, maps:get(<<"sup">>, Op)) of
        undefined -> result(<<"noproc">>);
        Sup -> api(Api, Op, Sup, Ctx)
    end.

to_child(Op, Ctx, F) ->
    case pid_of(Ctx, maps:get(<<"child">>, Op)) of
        undefined -> result(<<"no_child">>);
        Pid ->
            M = monitor(process, Pid),
            F(Pid),
            receive {'DOWN', M, process, Pid, _} -> none end
    end.

api(<<"start_child">>, Op, Sup, Ctx) ->
    Path = maps:get(<<"sup">>, Op),
    Arg = case maps:find(<<"tag">>, Op) of
              {ok, Tag} -> [Tag];
              error -> child_spec(Ctx, Path, maps:get(<<"spec">>, Op))
          end,
    result(ret(catch supervisor:start_child(Sup, Arg)));
api(<<"terminate_child">>, Op, Sup, Ctx) ->
    result(ret(catch supervisor:terminate_child(Sup, target(Op, Ctx))));
api(<<"restart_child">>, Op, Sup, Ctx) ->
    result(ret(catch supervisor:restart_child(Sup, target(Op, Ctx))));
api(<<"delete_child">>, Op, Sup, Ctx) ->
    result(ret(catch supervisor:delete_child(Sup, target(Op, Ctx))));
api(<<"which_children">>, Op, Sup, Ctx) -> which(Ctx, maps:get(<<"sup">>, Op), Sup);
api(<<"count_children">>, Op, Sup, Ctx) -> count(Ctx, maps:get(<<"sup">>, Op), Sup);
api(<<"get_childspec">>, Op, Sup, Ctx) ->
    case catch supervisor:get_childspec(Sup, target(Op, Ctx)) of
        {ok, #{restart := R, shutdown := S, type := T, significant := G}} ->
            [{ev, result}, {result, <<"ok">>}, {restart, R}, {shutdown, S}, {type, T}, {significant, G}];
        Other -> result(ret(Other))
    end.

%% A child of a simple_one_for_one supervisor is addressed by its tag.
target(Op, Ctx) ->
    case maps:find(<<"tag">>, Op) of
        {ok, Tag} ->
            Sup = maps:get(<<"sup">>, Op),
            case pid_of(Ctx, <<Sup/binary, "#", Tag/binary>>) of
                undefined -> spawn(fun() -> receive stop -> ok end end);  % a live stranger
                Pid -> Pid
            end;
        error -> maps:get(<<"id">>, Op)
    end.

which(Ctx, Path) -> which(Ctx, Path, pid_of(Ctx, Path)).
which(Ctx, _Path, Sup) ->
    case catch supervisor:which_children(Sup) of
        L when is_list(L) ->
            Rows = [[Id1, State, T] || {Id, Child, T, _} <- L,
                                       {Id1, State} <- [row(Ctx, Id, Child)]],
            Rows1 = case L of [{undefined, _, _, _} | _] -> lists:sort(Rows); _ -> Rows end,
            [{ev, result}, {result, <<"ok">>}, {children, Rows1}];
        Other -> result(ret(Other))
    end.

row(Ctx, undefined, Pid) when is_pid(Pid) ->
    [_, Tag] = binary:split(path_of(Ctx, Pid), <<"#">>), {Tag, <<"running">>};
row(_, undefined, S) -> {<<"?">>, S};
row(_, Id, Pid) when is_pid(Pid) -> {Id, <<"running">>};
row(_, Id, S) -> {Id, S}.

count(Ctx, Path) -> count(Ctx, Path, pid_of(Ctx, Path)).
count(_Ctx, _Path, Sup) ->
    case catch supervisor:count_children(Sup) of
        L when is_list(L) ->
            [{ev, result}, {result, <<"ok">>} |
             [{K, proplists:get_value(K, L)} || K <- [specs, active, supervisors, workers]]];
        Other -> result(ret(Other))
    end.

result(R) -> [{ev, result}, {result, R}].

ret(ok) -> <<"ok">>;
ret({ok, undefined}) -> <<"ok:undefined">>;
ret({ok, P}) when is_pid(P) -> <<"ok">>;
ret({error, already_present}) -> <<"error:already_present">>;
ret({error, {already_started, _}}) -> <<"error:already_started">>;
ret({error, A}) when A =:= running; A =:= restarting; A =:= not_found; A =:= simple_one_for_one ->
    <<"error:", (atom_to_binary(A, utf8))/binary>>;
ret({error, {bad_combination, _}}) -> <<"error:bad_spec">>;
ret({error, {invalid_shutdown, _}}) -> <<"error:bad_spec">>;
ret({error, {invalid_restart_type, _}}) -> <<"error:bad_spec">>;
ret({error, {invalid_child_type, _}}) -> <<"error:bad_spec">>;
ret({error, _}) -> <<"error:start_failed">>;
ret({'EXIT', _}) -> <<"noproc">>.

%%--------------------------------------------------------------------------
%% "arm": a request that reaches the supervisor while a start attempt of the
%% child is failing, so that it is served before the retry.
%%--------------------------------------------------------------------------
fire_armed(#{tab := Tab, main := Main} = Ctx, Path) ->
    case ets:take(Tab, {arm, Path}) of
        [] -> ok;
        [{_, #{<<"op">> := <<"stop">>}}] ->
            [{_, Owner}] = ets:lookup(Tab, owner),
            Owner ! {stop, self()},
            receive {stopping, Owner} -> ok end,
            wait_queued(fun({'EXIT', P, shutdown}) -> P =:= Owner; (_) -> false end);
        [{_, Op}] ->
            Sup = self(),
            H = spawn(fun() -> Main ! {armed, api(maps:get(<<"op">>, Op), Op, Sup, Ctx)} end),
            ets:update_counter(Tab, armed, 1, {armed, 0}),
            wait_queued(fun({'$gen_call', {P, _}, _}) -> P =:= H; (_) -> false end)
    end.

wait_queued(F) ->
    {messages, Ms} = process_info(self(), messages),
    case lists:any(F, Ms) of
        true -> ok;
        false -> erlang:yield(), wait_queued(F)
    end.

flush_armed(#{tab := Tab}) ->
    N = case ets:take(Tab, armed) of [{_, K}] -> K; [] -> 0 end,
    [receive {armed, R} -> [{ev, armed} | tl(R)] end || _ <- lists:seq(1, N)].

%%--------------------------------------------------------------------------
%% A small JSON reader and writer (this OTP release has none)
%%--------------------------------------------------------------------------
json_enc([{K, _} | _] = Obj) when is_atom(K); is_binary(K) ->
    [${, lists:join($,, [[json_enc(k(Key)), $:, json_enc(V)] || {Key, V} <- Obj]), $}];
json_enc(L) when is_list(L) -> [$[, lists:join($,, [json_enc(E) || E <- L]), $]];
json_enc(true) -> <<"true">>;
json_enc(false) -> <<"false">>;
json_enc(A) when is_atom(A) -> json_enc(atom_to_binary(A, utf8));
json_enc(I) when is_integer(I) -> integer_to_binary(I);
json_enc(B) when is_binary(B) -> [$", B, $"].

k(K) when is_atom(K) -> atom_to_binary(K, utf8);
k(K) -> K.

json_dec(Bin) -> {V, Rest} = val(ws(Bin)), <<>> = ws(Rest), V.

ws(<<C, R/binary>>) when C =:= $\s; C =:= $\t; C =:= $\r; C =:= $\n -> ws(R);
ws(B) -> B.

val(<<"{", R/binary>>) -> obj(ws(R), #{});
val(<<"[", R/binary>>) -> arr(ws(R), []);
val(<<"\"", R/binary>>) -> str(R, <<>>);
val(<<"true", R/binary>>) -> {true, R};
val(<<"false", R/binary>>) -> {false, R};
val(<<"null", R/binary>>) -> {null, R};
val(B) -> num(B, <<>>).

obj(<<"}", R/binary>>, M) -> {M, R};
obj(<<",", R/binary>>, M) -> obj(ws(R), M);
obj(<<"\"", R/binary>>, M) ->
    {K, R1} = str(R, <<>>),
    <<":", R2/binary>> = ws(R1),
    {V, R3} = val(ws(R2)),
    obj(ws(R3), M#{K => V}).

arr(<<"]", R/binary>>, L) -> {lists:reverse(L), R};
arr(<<",", R/binary>>, L) -> arr(ws(R), L);
arr(B, L) -> {V, R} = val(B), arr(ws(R), [V | L]).

str(<<"\"", R/binary>>, Acc) -> {Acc, R};
str(<<C, R/binary>>, Acc) -> str(R, <<Acc/binary, C>>).

num(<<C, R/binary>>, Acc) when C >= $0, C =< $9; C =:= $- -> num(R, <<Acc/binary, C>>);
num(R, Acc) -> {binary_to_integer(Acc), R}.
