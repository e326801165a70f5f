//! Events of a pod and its containers.

use api::types::api::core::v1::ObjectReference;
use store::events::{Recorder, WARNING, reference};

use super::Life;

impl Life {
    pub(super) fn tell(&self, kind: &str, reason: &str, message: &str) {
        self.shared.recorder.event(&reference(&*self.pod), kind, reason, message);
    }

    /// As [`Self::tell`], of one of the containers.
    pub(super) fn tell_of(&self, container: &str, kind: &str, reason: &str, message: &str) {
        self.teller(container).tell(kind, reason, message);
    }

    /// For those who tell of a container in a task of their own.
    pub(super) fn teller(&self, container: &str) -> Teller {
        let object =
            ObjectReference { field_path: Some(self.field_path(container)), ..reference(&*self.pod) };
        Teller { recorder: self.shared.recorder.clone(), object }
    }

    pub(super) fn field_path(&self, container: &str) -> String {
        let spec = self.pod.spec.as_ref();
        let init =
            spec.is_some_and(|spec| spec.init_containers.iter().flatten().any(|init| init.name == container));
        let list = if init { "initContainers" } else { "containers" };
        format!("spec.{list}{{{container}}}")
    }

    pub(super) fn tell_back_off(&mut self, backed_off: &[(String, u32)]) {
        for (name, attempt) in backed_off {
            if self.backed_off.insert(name.clone(), *attempt) == Some(*attempt) {
                continue;
            }
            let meta = &self.pod.metadata;
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let pod = format!("{}_{}({})", text(&meta.name), text(&meta.namespace), text(&meta.uid));
            let message = format!("Back-off restarting failed container {name} in pod {pod}");
            self.tell_of(name, WARNING, "BackOff", &message);
        }
    }
}

/// Tells of one container.
#[derive(Debug, Clone)]
pub(super) struct Teller {
    recorder: Recorder,
    object: ObjectReference,
}

impl Teller {
    pub(super) fn tell(&self, kind: &str, reason: &str, message: &str) {
        self.recorder.event(&self.object, kind, reason, message);
    }
}
