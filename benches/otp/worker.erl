%% The gen_server that is a child.
-module(worker).
-behaviour(gen_server).
-export([start_link/2, init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

start_link(Mode, Count) -> gen_server:start_link(?MODULE, {Mode, Count}, []).

init({Mode, Count}) ->
    case measure:born(Mode, Count) of
        crash -> {ok, none, {continue, crash}};
        wait -> {ok, none}
    end.

handle_continue(crash, State) -> {stop, crash, State}.

handle_call(ping, _From, State) -> {reply, ok, State}.

handle_cast(_Message, State) -> {noreply, State}.

handle_info(crash, State) -> {stop, crash, State}.
