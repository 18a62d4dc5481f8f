#!/bin/sh
# Starts PostgreSQL and keeps its password: start.sh FILE DATABASE COMMAND [ARGUMENT…]
#   FILE      holds the password of the user $POSTGRES_USER
#   DATABASE  one in which that user can log in over the local socket
# The image sets the password when it makes the database, and never again. Here the file is read again
# every few seconds, so that a new password holds without a restart; what is connected stays so.
set -eu
file=$1 database=$2
shift 2

# A password stands in no argument: psql reads the file itself.
set_password() {
    psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$database" <<SQL
\set password \`cat "$file"\`
ALTER ROLE :"USER" PASSWORD :'password';
SQL
}

# Ends with the server, whose process this shell becomes.
follow() {
    known=
    while sleep "${DULY_EVERY_SECONDS:-5}" && kill -0 $$ 2> /dev/null; do
        wanted=$(sha256sum < "$file") || continue
        [ "$wanted" != "$known" ] || continue
        # The server that the image runs while it makes the database listens to no address.
        pg_isready --quiet --host 127.0.0.1 || continue
        if set_password; then
            known=$wanted
            echo "password set as $file has it" >&2
        fi
    done
}

follow &
exec "$@"
