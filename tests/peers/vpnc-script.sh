#!/bin/sh
# What openconnect runs to set up its TUN device, for use inside a network namespace only: addresses, MTU and routes,
# with `ip`. DNS is left alone, because /etc/resolv.conf is not the namespace's own. Every call that has done its work is
# recorded: all variables, NUL-separated, appended to the file $RECORD, so that a test can look at what the headend
# pushed, and knows that the device is ready.
set -e

route() {
    ip "$1" route replace "$2" dev "$TUNDEV"
}

# An excluded network keeps its way outside the tunnel; in a test's namespace there is none.
exclude() {
    ip "$1" route replace unreachable "$2"
}

each() { # each FAMILY VARIABLE ACTION: run the action for every network that the numbered variables hold
    eval "count=\${$2:-0}"
    number=0
    while [ "$number" -lt "$count" ]; do
        eval "network=\${$2_${number}_ADDR}/\${$2_${number}_MASKLEN}"
        "$3" "$1" "$network"
        number=$((number + 1))
    done
}

configure() {
    ip link set dev "$TUNDEV" up mtu "${INTERNAL_IP4_MTU:-1300}"
    if [ -n "$INTERNAL_IP4_ADDRESS" ]; then
        ip -4 addr replace "$INTERNAL_IP4_ADDRESS/32" dev "$TUNDEV"
        # The server on the other end of the cable is reached by a more specific route than the default.
        [ -n "$CISCO_SPLIT_INC" ] || route -4 default
        each -4 CISCO_SPLIT_INC route
        each -4 CISCO_SPLIT_EXC exclude
    fi
    if [ -n "$INTERNAL_IP6_ADDRESS$INTERNAL_IP6_NETMASK" ]; then
        # The netmask variable, when there is one, is the address with its length.
        ip -6 addr replace "${INTERNAL_IP6_ADDRESS:-${INTERNAL_IP6_NETMASK%/*}}/128" dev "$TUNDEV" nodad
        [ -n "$CISCO_IPV6_SPLIT_INC" ] || route -6 default
        each -6 CISCO_IPV6_SPLIT_INC route
        each -6 CISCO_IPV6_SPLIT_EXC exclude
    fi
}

case "$reason" in
    connect | reconnect) configure ;;
esac

env -0 >>"$RECORD"
printf '\0' >>"$RECORD"
