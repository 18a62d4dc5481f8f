#!/bin/sh
# Starts Valkey with one user a role: start.sh RULES PASSWORDS USERS SERVER [ARGUMENT…]
#   RULES      one rule a role, with >change-me in place of its password
#   PASSWORDS  a folder with a file a role, which holds its password; a file `password` lets the
#              user default log in, otherwise that user is off
#   USERS      the ACL file to write: it holds hashes only
# Both are read again every few seconds, and what has changed is loaded without a restart. A password
# that is replaced holds for ten more minutes, since its Secret reaches each pod at another moment.
# A password is in no argument and in no variable of the server.
#
# The user default keeps all rights, also where nobody can log in as it: some servers (Redis 7.0, for
# one) read their append-only file as this user. Without its rights they skip every transaction in the
# file, and with it all tasks.
set -eu
umask 077
rules=$1 passwords=$2 users=$3
shift 3
every=${DULY_EVERY_SECONDS:-5}
overlap=${DULY_OVERLAP_SECONDS:-600}

# What loads the users: it may do nothing else, and only this process knows its password.
reloader=$(head -c 32 /dev/urandom | sha256sum | cut -c 1-64)

line_feed='
'
carriage_return=$(printf '\r')

# Prints the hashes of a role's password, one a line. A line break at the end of its file may belong to it
# or not: services and shells leave it out, KEDA sends it. So the password holds with it and without.
hashes_in() {
    text=$(cat "$passwords/$1" && echo .) || text=.
    text=${text%.} found=
    while [ -n "$text" ]; do
        found="$found $(printf %s "$text" | sha256sum | cut -c 1-64)"
        case $text in
            *"$line_feed" | *"$carriage_return") text=${text%?} ;;
            *) printf '%s\n' $found && return ;;
        esac
    done
    echo "the Secret has no password under the key $1" >&2
    return 1
}

# Prints a role's hashes: those of its password, and those that still hold.
hashes_of() {
    hashes=$(hashes_in "$1") || return 1
    [ ! -e "$users.$1" ] || while read -r until old; do
        case $hashes in
            *"$old"*) ;;
            *) [ "$until" -le "$now" ] || hashes="$hashes $old" ;;
        esac
    done < "$users.$1"
    printf '#%s ' $hashes
}

write_users() {
    now=$(date +%s)
    while read -r word user rule; do
        [ "$word" = user ] || continue
        hashes=$(hashes_of "${user#duly-}") || return 1
        echo "user $user ${rule%%>*}$hashes${rule#*>change-me }"
    done < "$rules"
    hash=$(printf %s "$reloader" | sha256sum | cut -c 1-64)
    echo "user duly-reloader on #$hash resetkeys resetchannels -@all +acl|load +ping"
    if [ -e "$passwords/password" ]; then
        hashes=$(hashes_of password) || return 1
        echo "user default on $hashes~* &* +@all"
    else
        echo "user default off ~* &* +@all"
    fi
}

# Notes until when the present passwords hold once they are replaced.
keep() {
    for file in "$passwords"/*; do
        role=${file##*/}
        hashes=$(hashes_in "$role") || return 1
        {
            for hash in $hashes; do echo "$(($(date +%s) + overlap)) $hash"; done
            [ ! -e "$users.$role" ] || grep -v -F "$hashes" "$users.$role" || :
        } > "$users.new"
        mv "$users.new" "$users.$role"
    done
}

load() {
    REDISCLI_AUTH=$reloader ${DULY_CLI:-valkey-cli} --user duly-reloader ACL LOAD > "$users.answer" 2>&1
    grep -q '^OK' "$users.answer"
}

# Ends with the server, whose process this shell becomes.
follow() {
    while sleep "$every" && kill -0 $$ 2> /dev/null; do
        if write_users > "$users.next" && [ "$(cat "$users.next")" != "$loaded" ]; then
            cp "$users.next" "$users"
            if load; then
                loaded=$(cat "$users.next")
                echo "users and passwords loaded anew" >&2
            else
                echo "users and passwords not loaded, trying again: $(cat "$users.answer")" >&2
            fi
        fi
        keep || :
    done
}

write_users > "$users"
keep
loaded=$(cat "$users")
follow &
exec "$@" --aclfile "$users"
