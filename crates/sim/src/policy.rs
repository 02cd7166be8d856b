//! What the policies are made of.

use crate::{Gpu, Layout, PolicyName, Setup};

/// SMs that a request for so many slices means, by the number of slices.
pub(crate) fn sms_of_slices(gpu: &Gpu) -> [f64; 8] {
    let mut sms = [0.0; 8];
    for (slices, sms) in sms.iter_mut().enumerate().skip(1) {
        *sms = f64::from(gpu.sms_of_slices(slices as u8).min(gpu.sms()));
    }
    sms
}

/// The layout of a setup, or its policy's own.
pub fn layout_of(setup: &Setup) -> Layout {
    if let Some(layout) = &setup.layout
        && setup.policy != PolicyName::FlexUniform
    {
        return layout.clone();
    }
    let gpu = setup.cluster.gpu;
    let text = match setup.policy {
        PolicyName::FlexUniform => format!("{}x1g", gpu.slices),
        PolicyName::Flex | PolicyName::FlexBest if gpu.slices == 7 => "3g+2g+2x1g".to_owned(),
        _ if gpu.slices == 7 => "4g+2g+1g".to_owned(),
        _ => "2g+2x1g".to_owned(),
    };
    let uniform = || Layout { cuts: crate::layout::Cut::all_full(gpu) };
    Layout::parse(gpu, &text).unwrap_or_else(|_| uniform())
}
