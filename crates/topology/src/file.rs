//! The file's own shape: what may be written, with the place of each value.

use std::collections::BTreeMap;
use std::fmt;

use images::Image;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
pub(crate) use serde_yaml::Spanned;

use crate::model::{BackendValue, Choice};
use crate::units::{Delay, Grace, Loss, Rate};

pub(crate) type Text = Spanned<String>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TopologyFile {
    #[serde(default)]
    pub(crate) underlay: UnderlayFile,
    pub(crate) pod_network: Option<Spanned<PodNetworkFile>>,
    pub(crate) service_network: Option<Text>,
    pub(crate) components: Option<ComponentsFile>,
    #[serde(default)]
    pub(crate) manifests: Vec<Text>,
    #[serde(default)]
    pub(crate) images: BTreeMap<String, Spanned<Image>>,
    pub(crate) dns: Option<bool>,
    pub(crate) node_monitor_grace_period: Option<Grace>,
    pub(crate) clusters: Spanned<Vec<Spanned<ClusterFile>>>,
    #[serde(default)]
    pub(crate) links: Vec<Spanned<LinkFile>>,
    #[serde(default)]
    pub(crate) site_links: Vec<Spanned<SiteLinkFile>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SiteLinkFile {
    pub(crate) from: Text,
    pub(crate) to: Text,
    pub(crate) cost: Option<Spanned<u32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnderlayFile {
    pub(crate) network: Option<Text>,
    pub(crate) switch: Option<Text>,
    pub(crate) mtu: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ClusterFile {
    pub(crate) name: Text,
    pub(crate) switch: Option<Text>,
    pub(crate) etcd: Option<Spanned<CountOrList<EtcdMemberFile>>>,
    pub(crate) workers: Spanned<CountOrList<WorkerFile>>,
    pub(crate) pod_network: Option<Spanned<PodNetworkFile>>,
    pub(crate) service_network: Option<Text>,
    pub(crate) load_balancer_pool: Option<Text>,
    pub(crate) components: Option<ComponentsFile>,
    #[serde(default)]
    pub(crate) manifests: Vec<Text>,
    pub(crate) dns: Option<bool>,
    pub(crate) node_monitor_grace_period: Option<Grace>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EtcdMemberFile {
    pub(crate) name: Text,
    pub(crate) address: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkerFile {
    pub(crate) name: Text,
    pub(crate) address: Text,
    pub(crate) components: Option<ComponentsFile>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Count {
    pub(crate) count: Spanned<u32>,
    pub(crate) first_address: Option<Text>,
}

/// `3`, `{count: 3, firstAddress: 10.0.0.3}` or a list of named ones.
#[derive(Debug)]
pub(crate) enum CountOrList<T> {
    Count(u32, Option<Text>),
    List(Vec<Spanned<T>>),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct ComponentsFile {
    pub(crate) flannel: Option<Choice>,
    pub(crate) flannel_plugin: Option<Choice>,
    pub(crate) router: Option<Choice>,
}

/// flannel's own names, or the name of a file that has them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct PodNetworkFile {
    #[serde(rename = "file")]
    pub(crate) file: Option<Text>,
    pub(crate) network: Option<Text>,
    pub(crate) subnet_len: Option<Spanned<u8>>,
    pub(crate) subnet_min: Option<Text>,
    pub(crate) subnet_max: Option<Text>,
    #[serde(rename = "EnableIPv4")]
    pub(crate) enable_ipv4: Option<Spanned<bool>>,
    #[serde(rename = "EnableIPv6")]
    pub(crate) enable_ipv6: Option<Spanned<bool>>,
    #[serde(rename = "EnableNFTables")]
    pub(crate) enable_nftables: Option<bool>,
    pub(crate) backend: Option<Spanned<BTreeMap<String, Spanned<BackendValue>>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkFile {
    pub(crate) between: Spanned<Vec<Text>>,
    pub(crate) rate: Option<Rate>,
    pub(crate) loss: Option<Loss>,
    pub(crate) delay: Option<Delay>,
    pub(crate) mtu: Option<Spanned<u32>>,
    pub(crate) up: Option<bool>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for CountOrList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Shape<T> {
            type Value = CountOrList<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, {count: N, firstAddress: A.B.C.D} or a list of {name, address}")
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Self::Value, E> {
                let count = u32::try_from(count).map_err(|_| E::custom(format!("{count} is too many")))?;
                Ok(CountOrList::Count(count, None))
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<Self::Value, E> {
                let count = u64::try_from(count).map_err(|_| E::custom(format!("{count} is not a count")))?;
                self.visit_u64(count)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let count = Count::deserialize(MapAccessDeserializer::new(map))?;
                Ok(CountOrList::Count(count.count.value, count.first_address))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = seq.next_element()? {
                    list.push(item);
                }
                Ok(CountOrList::List(list))
            }
        }
        deserializer.deserialize_any(Shape(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for ComponentsFile {
    /// One word for all parts, or a map from part to word.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Parts {
            flannel: Option<Choice>,
            flannel_plugin: Option<Choice>,
            router: Option<Choice>,
        }

        struct Shape;

        impl<'de> Visitor<'de> for Shape {
            type Value = ComponentsFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "auto, real, builtin or a map from flannel, flannelPlugin and router to one of these",
                )
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
                let all = Some(Choice::deserialize(de::value::StrDeserializer::<E>::new(word))?);
                Ok(ComponentsFile { flannel: all, flannel_plugin: all, router: all })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let Parts { flannel, flannel_plugin, router } =
                    Parts::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ComponentsFile { flannel, flannel_plugin, router })
            }
        }
        deserializer.deserialize_any(Shape)
    }
}
