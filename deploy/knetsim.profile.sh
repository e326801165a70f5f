# To be installed as /etc/profile.d/knetsim.sh on a shared server: where a knetsim@USER.service runs,
# that user's `topo` means this lab.
if [ -d "/run/knetsim-$(id -un)" ]; then
  KNETSIM_LAB=$(id -un)
  KNETSIM_STATE_DIR=/run/knetsim-$KNETSIM_LAB
  export KNETSIM_LAB KNETSIM_STATE_DIR
fi
