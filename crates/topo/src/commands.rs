//! One module a verb.

pub(crate) mod cni;
pub(crate) mod dns;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod echo;
pub(crate) mod ingress;
pub(crate) mod kinds;
pub(crate) mod link;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod manual;
pub(crate) mod mininet;
pub(crate) mod objects;
pub(crate) mod pod;
pub(crate) mod proxy;
pub(crate) mod skupper;
pub(crate) mod status;
pub(crate) mod topology;
pub(crate) mod up;
pub(crate) mod verbs;
pub(crate) mod vip;
